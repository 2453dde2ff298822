import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The file is the old one or the new one, whenever the power fails; the new one once it resolves. For its owner only. */
export async function replaceFile(path: string, content: string | Uint8Array): Promise<void> {
  const partial = `${path}.new`;
  const file = await open(partial, 'w', 0o600);
  try {
    await file.writeFile(content);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
  await syncFolderOf(path);
}

/** Removes the file, if there is one. On return it is gone whatever happens. */
export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncFolderOf(path);
}

async function syncFolderOf(path: string): Promise<void> {
  const directory = await open(dirname(path), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

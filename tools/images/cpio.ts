/**
 * The "newc" cpio format, the only one Linux unpacks as an initramfs (kernel documentation,
 * driver-api/early-userspace/buffer-format):
 *
 *     header, 110 bytes of ASCII: "070701" and 13 fields of 8 hex digits
 *     name, NUL-terminated, padded to 4 bytes from the header's start
 *     data, padded to 4 bytes
 *     ... and a last entry named TRAILER!!!
 */
export type CpioEntry = { readonly path: string } & (
  | { readonly type: 'directory'; readonly mode?: number }
  | { readonly type: 'file'; readonly mode?: number; readonly content: Uint8Array | string }
  | { readonly type: 'symlink'; readonly target: string }
  | { readonly type: 'character-device'; readonly mode?: number; readonly major: number; readonly minor: number }
);

const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000, 'character-device': 0o020000 } as const;
const defaultMode = { directory: 0o755, file: 0o644, symlink: 0o777, 'character-device': 0o600 } as const;
const alignment = 4;
/** The kernel reads any length; whole disk sectors let an archive also be a disk. */
const archiveAlignment = 512;

/**
 * `entries` as one archive, owned by root, dated 1970: the same entries give the same bytes. Folders that an
 * entry lies in and that are not listed before it are added.
 */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts: Uint8Array[] = [];
  let length = 0;
  const add = (bytes: Uint8Array, padTo: number) => {
    const padding = (padTo - ((length + bytes.length) % padTo)) % padTo;
    parts.push(bytes, Buffer.alloc(padding));
    length += bytes.length + padding;
  };
  for (const [index, entry] of withFolders(entries).entries()) {
    const data = dataOf(entry);
    const mode =
      typeBits[entry.type] | ('mode' in entry && entry.mode !== undefined ? entry.mode : defaultMode[entry.type]);
    const device = entry.type === 'character-device' ? entry : { major: 0, minor: 0 };
    add(header(entry.path, index + 1, mode, data.length, device), alignment);
    add(data, alignment);
  }
  add(header('TRAILER!!!', 0, 0, 0, { major: 0, minor: 0 }), archiveAlignment);
  return Buffer.concat(parts, length);
}

function dataOf(entry: CpioEntry): Uint8Array {
  switch (entry.type) {
    case 'file':
      return typeof entry.content === 'string' ? Buffer.from(entry.content) : entry.content;
    case 'symlink':
      return Buffer.from(entry.target);
    case 'directory':
    case 'character-device':
      return new Uint8Array(0);
  }
}

function header(
  path: string,
  inode: number,
  mode: number,
  size: number,
  device: { readonly major: number; readonly minor: number },
): Buffer {
  const name = Buffer.from(`${path}\0`);
  const links = 1;
  const fields = [inode, mode, 0, 0, links, 0, size, 0, 0, device.major, device.minor, name.length, 0];
  const digits = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  return Buffer.concat([Buffer.from(`070701${digits}`), name]);
}

function withFolders(entries: readonly CpioEntry[]): CpioEntry[] {
  const seen = new Set<string>();
  const all: CpioEntry[] = [];
  for (const entry of entries) {
    const path = entry.path.replace(/^\/+|\/+$/g, '');
    if (path === '') throw new Error('a cpio entry needs a path below the root');
    const names = path.split('/');
    for (let depth = 1; depth < names.length; depth++) {
      const folder = names.slice(0, depth).join('/');
      if (seen.has(folder)) continue;
      seen.add(folder);
      all.push({ path: folder, type: 'directory' });
    }
    if (entry.type === 'directory' && seen.has(path)) continue;
    seen.add(path);
    all.push({ ...entry, path });
  }
  return all;
}

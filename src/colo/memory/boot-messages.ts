import { fstatSync, read } from 'node:fs';
import { promisify } from 'node:util';
import type { BootDescriptors, NamedFile } from '../../vmm/machine/machine-shape.ts';
import type { BootMessage } from '../protocol/messages.ts';

/** As much as is read, and travels, at a time. */
const pieceBytes = 256 * 1024;

const reading = promisify(read);

/** All of it now: who overwrites a file in place has another one booted. */
export function bootBytes({ kernel, initrd }: BootDescriptors): number {
  return sizeOf(kernel) + (initrd === undefined ? 0 : sizeOf(initrd));
}

/**
 * What a guest boots, as its standby is told. Data is valid until the next message is asked for.
 *
 * @throws Error that names the file that cannot be read
 */
export async function* bootMessages({
  kernel,
  initrd,
  commandLine,
  kaslr = false,
}: BootDescriptors): AsyncGenerator<BootMessage> {
  const files = [kernel, ...(initrd === undefined ? [] : [initrd])].map((file) => ({
    ...file,
    sizeBytes: sizeOf(file),
  }));
  const [first, second] = files.map(({ name, sizeBytes }) => ({ name, sizeBytes }));
  if (first === undefined) return;
  yield { kind: 'boot-begin', kernel: first, ...(second === undefined ? {} : { initrd: second }), commandLine, kaslr };
  const piece = new Uint8Array(pieceBytes);
  for (const { name, fd, sizeBytes } of files) {
    for (let at = 0; at < sizeBytes; ) {
      const { bytesRead } = await reading(fd, piece, 0, Math.min(pieceBytes, sizeBytes - at), at);
      if (bytesRead === 0) throw new Error(`${name} became shorter while the standby was sent it`);
      yield { kind: 'boot-bytes', data: piece.subarray(0, bytesRead) };
      at += bytesRead;
    }
  }
}

function sizeOf({ fd }: NamedFile): number {
  return fstatSync(fd).size;
}

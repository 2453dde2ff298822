import { readFile } from 'node:fs/promises';
import { parseBzImage } from '../../firmware/bzimage.ts';
import { decodeLz4Legacy } from '../../firmware/lz4-legacy.ts';
import { guestKernel } from '../../tools/images/kernel.ts';

/** The vmlinux inside Debian's cloud kernel, an ELF file with a PVH note. */
export async function plainKernel(): Promise<Uint8Array> {
  const path = await guestKernel();
  const { payload } = parseBzImage({ name: path, bytes: await readFile(path) });
  const size = new DataView(payload.buffer, payload.byteOffset).getUint32(payload.length - 4, true);
  const vmlinux = new Uint8Array(size);
  decodeLz4Legacy(payload.subarray(0, -4), vmlinux, undefined);
  return vmlinux;
}

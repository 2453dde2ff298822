import { KernelImageError } from './kernel-image-error.ts';
import type { NamedFile } from './named-file.ts';
import { compressionOf } from './unpack-kernel.ts';

const wanted = 'give a bzImage (such as /boot/vmlinuz-*) or an uncompressed x86-64 vmlinux';

/** Machine numbers of PE files (Microsoft PE format, "Machine types") that Linux makes EFI images for. */
const peMachines: Readonly<Record<number, string>> = {
  43620: 'arm64',
  20530: '32-bit RISC-V',
  20580: 'RISC-V',
  25188: 'LoongArch',
  450: '32-bit Arm',
};

/** Says what a file is that is neither a bzImage nor an ELF file. */
export function notAKernel({ name, bytes }: NamedFile): KernelImageError {
  const error = (problem: string): KernelImageError =>
    new KernelImageError('NOT_A_KERNEL', `kernel ${name} ${problem}; ${wanted}`);

  if (bytes.length === 0) return error('is an empty file');
  const machine = foreignMachine(bytes);
  if (machine !== undefined) return wrongMachine(name, machine);

  const compression = compressionOf(bytes);
  if (compression !== undefined) {
    const inner = compression === 'gzip' ? foreignMachine(gunzipHead(bytes)) : undefined;
    if (inner !== undefined) return wrongMachine(name, inner);
    return new KernelImageError(
      'COMPRESSED_KERNEL',
      `kernel ${name} is a file compressed with ${compression}; unpack it first, or ${wanted}`,
    );
  }
  if (startsWith(bytes, '070701') || startsWith(bytes, '070702')) {
    return error('is no kernel but an initramfs (a cpio archive)');
  }
  if (bytes[0x1fe] === 0x55 && bytes[0x1ff] === 0xaa) {
    return error('is no Linux kernel but a boot sector or a disk image');
  }
  return error(`is not a Linux kernel: it begins with ${quoted(bytes)}`);
}

/** The machine of a kernel Image that is not for x86, by the marks that such images have. */
function foreignMachine(bytes: Uint8Array): string | undefined {
  // Linux Documentation/arch/arm64/booting.rst and arch/riscv/boot-image-header.rst: magic at 0x38.
  if (startsWith(bytes, 'ARM\x64', 0x38)) return 'arm64';
  if (startsWith(bytes, 'RSC\x05', 0x38)) return 'RISC-V';
  // drivers/firmware/efi/libstub/zboot-header.S: "MZ", 0, 0, "zimg"; a PE header says what for.
  if (startsWith(bytes, 'MZ') && startsWith(bytes, 'zimg', 4) && bytes.length >= 0x40) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const pe = view.getUint32(0x3c, true);
    if (pe + 6 <= bytes.length) return peMachines[view.getUint16(pe + 4, true)] ?? 'another machine';
    return 'another machine';
  }
  return undefined;
}

function wrongMachine(name: string, machine: string): KernelImageError {
  return new KernelImageError('WRONG_MACHINE', `kernel ${name} is an Image for ${machine}; an x86-64 kernel is needed`);
}

/** The first bytes of a gzip file, as far as they can be had; empty if it is none. */
function gunzipHead(bytes: Uint8Array): Uint8Array {
  // Not imported: most files need no zlib, and loading it takes a while.
  const { constants, gunzipSync } = process.getBuiltinModule('node:zlib');
  try {
    // Of 1 KiB of input come at most 1 MiB; a flush instead of an end makes zlib content with that.
    return gunzipSync(bytes.subarray(0, 1024), { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 2 ** 21 });
  } catch {
    return new Uint8Array(0);
  }
}

function startsWith(bytes: Uint8Array, text: string, offset = 0): boolean {
  return (
    bytes.length >= offset + text.length && [...text].every((c, index) => bytes[offset + index] === c.charCodeAt(0))
  );
}

function quoted(bytes: Uint8Array): string {
  const head = bytes.subarray(0, 16);
  if (head.every((byte) => byte >= 0x20 && byte <= 0x7e)) return JSON.stringify(String.fromCharCode(...head));
  const line = head.subarray(0, head.indexOf(0x0a));
  if (head.includes(0x0a) && line.every((byte) => byte >= 0x20 && byte <= 0x7e)) {
    return JSON.stringify(String.fromCharCode(...line));
  }
  return `the bytes ${[...head].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}`;
}

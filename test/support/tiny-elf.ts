/** Where {@link tinyElf} loads its code, in guest-physical memory. */
export const tinyElfBase = 0x10_0000;

/**
 * An ELF file with a PVH entry note around machine code: the smallest thing that a VMM takes for a kernel. The code
 * starts at {@link tinyElfBase} in flat 32-bit mode, paging off (Xen PVH ABI).
 */
export function tinyElf(code: Uint8Array): Uint8Array {
  const headerBytes = 64;
  const programHeaderBytes = 56;
  const noteOffset = headerBytes + 2 * programHeaderBytes;
  const noteBytes = 24;
  const codeOffset = 0x1000;
  const file = new Uint8Array(codeOffset + code.length);
  const view = new DataView(file.buffer);

  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // ELF, 64-bit, little-endian
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(tinyElfBase), true);
  view.setBigUint64(32, BigInt(headerBytes), true);
  view.setUint16(52, headerBytes, true);
  view.setUint16(54, programHeaderBytes, true);
  view.setUint16(56, 2, true);

  const segment = (index: number, type: number, offset: number, address: number, length: number): void => {
    const at = headerBytes + index * programHeaderBytes;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, 7, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, BigInt(address), true);
    view.setBigUint64(at + 24, BigInt(address), true);
    view.setBigUint64(at + 32, BigInt(length), true);
    view.setBigUint64(at + 40, BigInt(length), true);
  };
  segment(0, 1, codeOffset, tinyElfBase, code.length); // PT_LOAD
  segment(1, 4, noteOffset, 0, noteBytes); // PT_NOTE

  view.setUint32(noteOffset, 4, true); // name bytes
  view.setUint32(noteOffset + 4, 8, true); // descriptor bytes
  view.setUint32(noteOffset + 8, 18, true); // XEN_ELFNOTE_PHYS32_ENTRY
  file.set([0x58, 0x65, 0x6e, 0], noteOffset + 12); // "Xen"
  view.setBigUint64(noteOffset + 16, BigInt(tinyElfBase), true);
  file.set(code, codeOffset);
  return file;
}

/**
 * A shared library that stands in for one that a program is linked with and does not use: it has the functions' names,
 * so that the dynamic linker is content, and none of the functions. x86-64 ELF, one segment:
 *
 *     file header | program headers | dynamic section | hash table | symbols | strings
 */
const headerBytes = 64;
const programHeaderBytes = 56;
const programHeaders = 3;
const dynamicEntryBytes = 16;
const symbolBytes = 24;

const fileType = { sharedObject: 3 } as const;
const machineX86 = 62;
const segment = { load: 1, dynamic: 2, stack: 0x6474e551 } as const;
const readWrite = 6;
const dynamicTag = { end: 0, hash: 4, strings: 5, symbols: 6, stringsSize: 10, symbolSize: 11 } as const;
/** STB_GLOBAL, STT_FUNC. */
const globalFunction = 0x12;
const pageBytes = 4096;

/** The library's bytes. Versions of symbols are left out: the linker takes an unversioned one for any version. */
export function stubLibrary(functions: readonly string[]): Buffer {
  const strings = Buffer.from(`\0${functions.map((name) => `${name}\0`).join('')}`);
  const tags = Object.keys(dynamicTag).length;
  const dynamicAt = headerBytes + programHeaders * programHeaderBytes;
  const hashAt = dynamicAt + tags * dynamicEntryBytes;
  const symbolCount = functions.length + 1;
  const hashBytes = 4 * (2 + 1 + symbolCount);
  const symbolsAt = alignUp(hashAt + hashBytes, 8);
  const stringsAt = symbolsAt + symbolCount * symbolBytes;
  const file = Buffer.alloc(stringsAt + strings.length);

  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(fileType.sharedObject, 16);
  file.writeUInt16LE(machineX86, 18);
  file.writeUInt32LE(1, 20);
  writeNumber(file, headerBytes, 32);
  file.writeUInt16LE(headerBytes, 52);
  file.writeUInt16LE(programHeaderBytes, 54);
  file.writeUInt16LE(programHeaders, 56);

  const writeSegment = (index: number, type: number, start: number, size: number, alignment: number) => {
    const at = headerBytes + index * programHeaderBytes;
    file.writeUInt32LE(type, at);
    file.writeUInt32LE(readWrite, at + 4);
    for (const offset of [8, 16, 24]) writeNumber(file, start, at + offset);
    for (const offset of [32, 40]) writeNumber(file, size, at + offset);
    writeNumber(file, alignment, at + 48);
  };
  writeSegment(0, segment.load, 0, file.length, pageBytes);
  writeSegment(1, segment.dynamic, dynamicAt, tags * dynamicEntryBytes, 8);
  // Without this header the linker would make every stack of the process executable.
  writeSegment(2, segment.stack, 0, 0, 16);

  const dynamic = [
    [dynamicTag.hash, hashAt],
    [dynamicTag.strings, stringsAt],
    [dynamicTag.symbols, symbolsAt],
    [dynamicTag.stringsSize, strings.length],
    [dynamicTag.symbolSize, symbolBytes],
    [dynamicTag.end, 0],
  ] as const;
  for (const [index, [tag, value]] of dynamic.entries()) {
    writeNumber(file, tag, dynamicAt + index * dynamicEntryBytes);
    writeNumber(file, value, dynamicAt + index * dynamicEntryBytes + 8);
  }

  // One bucket with all symbols in a chain, each naming the next; 0 ends it.
  const chain = functions.map((_, index) => (index + 2) % symbolCount);
  for (const [index, word] of [1, symbolCount, functions.length > 0 ? 1 : 0, 0, ...chain].entries()) {
    file.writeUInt32LE(word, hashAt + index * 4);
  }

  let nameAt = 1;
  for (const [index, name] of functions.entries()) {
    const at = symbolsAt + (index + 1) * symbolBytes;
    file.writeUInt32LE(nameAt, at);
    file.writeUInt8(globalFunction, at + 4);
    // Any section and address but 0, which would mean that it is defined elsewhere.
    file.writeUInt16LE(1, at + 6);
    writeNumber(file, headerBytes, at + 8);
    nameAt += name.length + 1;
  }
  strings.copy(file, stringsAt);
  return file;
}

function writeNumber(file: Buffer, value: number, at: number): void {
  file.writeBigUInt64LE(BigInt(value), at);
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/**
 * A small assembler for ACPI Machine Language (ACPI 6.4 chapter 20). Each function gives the bytes of one term;
 * terms nest as they do in ASL:
 *
 *     device('COM1', name('_HID', eisaId('PNP0501')), name('_CRS', resourceTemplate(io(0x3f8, 8))))
 */

/** The bytes of an AML term. */
export type Aml = Uint8Array;

/** Anything that `integer` or `text` can make a term of, or a term. */
export type AmlValue = Aml | number | string;

function bytes(...parts: readonly (number | Uint8Array)[]): Aml {
  const length = parts.reduce<number>((sum, part) => sum + (typeof part === 'number' ? 1 : part.length), 0);
  const result = new Uint8Array(length);
  let position = 0;
  for (const part of parts) {
    if (typeof part === 'number') {
      result[position++] = part;
    } else {
      result.set(part, position);
      position += part.length;
    }
  }
  return result;
}

/** `value` in `size` bytes, low byte first. */
function little(value: number, size: number): Aml {
  return Uint8Array.from({ length: size }, (_, index) => Math.floor(value / 2 ** (8 * index)) % 256);
}

function ascii(value: string): Aml {
  return Uint8Array.from(value, (character) => character.charCodeAt(0));
}

function value(term: AmlValue): Aml {
  if (typeof term === 'number') return integer(term);
  return typeof term === 'string' ? text(term) : term;
}

/**
 * `body` behind its PkgLength, which counts itself (20.2.4): up to 63 in one byte, else the number of further bytes
 * in bits 7-6, the low four bits of the length, and the rest of it in those bytes.
 */
export function withPkgLength(body: Aml): Aml {
  if (body.length + 1 < 2 ** 6) return bytes(body.length + 1, body);
  const more = [1, 2, 3].find((count) => body.length + 1 + count < 2 ** (4 + 8 * count));
  if (more === undefined) throw new RangeError(`${body.length} bytes are too many for one AML package`);
  const length = body.length + 1 + more;
  return bytes((more << 6) | (length & 0xf), little(Math.floor(length / 16), more), body);
}

/** A NameString (20.2.2): segments of four characters, `\` for the root in front. `_SB.PWRB`, `\_SB`, `V000`. */
export function nameString(path: string): Aml {
  const root = path.startsWith('\\') ? [0x5c] : [];
  const segments = path.replace('\\', '').split('.');
  for (const segment of segments) {
    if (!/^[A-Z_][A-Z0-9_]{3}$/.test(segment)) throw new RangeError(`${path} is no ACPI name`);
  }
  const names = ascii(segments.join(''));
  if (segments.length === 1) return bytes(...root, names);
  if (segments.length === 2) return bytes(...root, 0x2e, names);
  return bytes(...root, 0x2f, segments.length, names);
}

/** An integer in its shortest form (20.2.3). */
export function integer(number: number): Aml {
  if (number === 0) return bytes(0x00);
  if (number === 1) return bytes(0x01);
  if (number < 2 ** 8) return bytes(0x0a, number);
  if (number < 2 ** 16) return bytes(0x0b, little(number, 2));
  if (number < 2 ** 32) return bytes(0x0c, little(number, 4));
  return bytes(0x0e, little(number, 8));
}

/** A string constant. */
export function text(string: string): Aml {
  return bytes(0x0d, ascii(string), 0x00);
}

/**
 * An EISA id such as `PNP0501` (19.3.4): three letters in five bits each and four hex digits, high byte first in
 * the dword that holds it.
 */
export function eisaId(id: string): Aml {
  if (!/^[A-Z]{3}[0-9A-F]{4}$/.test(id)) throw new RangeError(`${id} is no EISA id`);
  const [a, b, c] = [...ascii(id.slice(0, 3))].map((letter) => letter - 0x40) as [number, number, number];
  const letters = (a << 10) | (b << 5) | c;
  const product = Number.parseInt(id.slice(3), 16);
  return bytes(0x0c, letters >> 8, letters & 0xff, product >> 8, product & 0xff);
}

export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return bytes(0x10, withPkgLength(bytes(nameString(path), ...terms)));
}

export function device(path: string, ...terms: readonly Aml[]): Aml {
  return bytes(0x5b, 0x82, withPkgLength(bytes(nameString(path), ...terms)));
}

export function name(path: string, term: AmlValue): Aml {
  return bytes(0x08, nameString(path), value(term));
}

/** Package (fewer than 256 elements). */
export function amlPackage(...elements: readonly AmlValue[]): Aml {
  return bytes(0x12, withPkgLength(bytes(elements.length, ...elements.map(value))));
}

/** A method that takes `argumentCount` arguments; only one thread at a time runs it. */
export function serializedMethod(path: string, argumentCount: number, ...terms: readonly Aml[]): Aml {
  return bytes(0x14, withPkgLength(bytes(nameString(path), argumentCount | 0x08, ...terms)));
}

/** Argument `index` of the method that runs. */
export function argument(index: number): Aml {
  return bytes(0x68 + index);
}

export function equal(left: AmlValue, right: AmlValue): Aml {
  return bytes(0x93, value(left), value(right));
}

export function ifThen(condition: Aml, ...terms: readonly Aml[]): Aml {
  return bytes(0xa0, withPkgLength(bytes(condition, ...terms)));
}

export function notify(path: string, notification: number): Aml {
  return bytes(0x86, nameString(path), integer(notification));
}

/** ResourceTemplate (19.6.114): descriptors in a buffer, closed by an end tag whose checksum 0 means "none". */
export function resourceTemplate(...descriptors: readonly Aml[]): Aml {
  const content = bytes(...descriptors, 0x79, 0x00);
  return bytes(0x11, withPkgLength(bytes(integer(content.length), content)));
}

/** Memory32Fixed, read-write (6.4.3.4). */
export function memory32Fixed(address: number, length: number): Aml {
  return bytes(0x86, 9, 0, 0x01, little(address, 4), little(length, 4));
}

/** I/O ports [port, port + length), 16 address lines decoded (6.4.2.5). */
export function io(port: number, length: number): Aml {
  return bytes(0x47, 0x01, little(port, 2), little(port, 2), 1, length);
}

/** Extended interrupt: consumer, edge-triggered, active high, exclusive (6.4.3.6). */
export function edgeInterrupt(gsi: number): Aml {
  return bytes(0x89, 6, 0, 0x03, 1, little(gsi, 4));
}

/** Terms one after the other. */
export function terms(...list: readonly Aml[]): Aml {
  return bytes(...list);
}

import { test } from 'tap';
import { type JsonPiece, JsonSplitter } from '../../../../src/vmm/monitor/json-splitter.ts';

const parseError = /^JSON parse error/;

/** What comes of bytes, given in chunks of a size. */
function split(bytes: string | Uint8Array, chunkBytes = Number.POSITIVE_INFINITY, limitBytes = 1 << 20): JsonPiece[] {
  const splitter = new JsonSplitter(limitBytes);
  const all = Buffer.from(bytes);
  const pieces: JsonPiece[] = [];
  for (let at = 0; at < all.length; at += chunkBytes) {
    splitter.push(all.subarray(at, at + chunkBytes));
    for (let piece = splitter.next(); piece !== undefined; piece = splitter.next()) pieces.push(piece);
  }
  return pieces;
}

/** Texts, and `!` for what was wrong. */
function texts(pieces: readonly JsonPiece[]): string[] {
  return pieces.map((piece) => ('text' in piece ? piece.text : '!'));
}

for (const [what, bytes, expected] of [
  ['one value a line', '{"a":1}\r\n{"b":2}\n', ['{"a":1}', '{"b":2}']],
  ['several values on a line', '{}[] {"a":[{}]}', ['{}', '[]', '{"a":[{}]}']],
  ['a value over several lines', '{\n"a"\n:\n1}\n', ['{\n"a"\n:\n1}']],
  ['blank lines', '\n \t\r\n\n{}\n\n', ['{}']],
  ['brackets in strings', '{"a":"}]{["}{"b":1}', ['{"a":"}]{["}', '{"b":1}']],
  ['quotes in strings', '{"a":"\\"}"}{"b":"\\\\"}', ['{"a":"\\"}"}', '{"b":"\\\\"}']],
  ['words and numbers that stand alone', 'true -1.5e+3 null{}5{}', ['true', '-1.5e+3', 'null', '{}', '5', '{}']],
  ['strings that stand alone', '"a{""b"{}', ['"a{"', '"b"', '{}']],
  ['letters of every length', '{"ä":"€😀"}', ['{"ä":"€😀"}']],
  ['an array in an object that ends the other way round', '{"a":[}]{"b":1}', ['{"a":[}]', '{"b":1}']],
  ['a bracket too many', '{"a":1}}{"b":1}]{}', ['{"a":1}', '}', '{"b":1}', ']', '{}']],
  ['separators without values', ',:{}', [',', ':', '{}']],
  ['a string that ends with its line', '{"a":"b\n{"b":1}\n', ['!', '{"b":1}']],
  ['a byte that no JSON has', '@ garbage\n{"b":1}', ['!', '{"b":1}']],
  ['a control byte in an object', '{"a":\u0001 1}{"b":1}', ['!', '}', '{"b":1}']],
] as const) {
  test(`takes ${what}`, async (t) => {
    t.strictSame(texts(split(bytes)), expected);
    for (const size of [1, 2, 3]) t.strictSame(texts(split(bytes, size)), expected, `in chunks of ${size}`);
  });
}

test('begins anew at a byte that is never text', async (t) => {
  for (const byte of [0xfe, 0xff]) {
    for (const before of ['', '{"a":', '{"a":"', '@', 'tru']) {
      const bytes = Buffer.concat([Buffer.from(before), Buffer.of(byte), Buffer.from('{"b":1}')]);
      t.equal(texts(split(bytes)).at(-1), '{"b":1}', `after ${before}`);
    }
  }
});

test('tells of text that is no UTF-8, and goes on', async (t) => {
  t.strictSame(texts(split(Buffer.from([0x22, 0xc3, 0x22, 0x7b, 0x7d]))), ['!', '{}']);
});

test('refuses what is nested deeper than 1024, and goes on', async (t) => {
  t.equal(texts(split(`${'['.repeat(1024)}${']'.repeat(1024)}`))[0]?.length, 2048);
  const pieces = split(`${'[{'.repeat(513)}\n{"b":1}`);
  t.strictSame(pieces[0], { error: 'JSON nesting depth limit exceeded' });
  t.strictSame(texts(split(`${'['.repeat(1025)}\n{"b":1}`)), ['!', '{"b":1}']);
});

for (const [what, bytes] of [
  ['an array', `[${'1,'.repeat(100)}`],
  ['a string', `"${'x'.repeat(100)}`],
  ['a word', 'x'.repeat(100)],
] as const) {
  test(`gives up on ${what} larger than the limit, whatever the chunks`, async (t) => {
    for (const size of [1, 7, 1000]) {
      const pieces = split(bytes, size, 64);
      t.strictSame(pieces, [{ error: 'JSON message size limit exceeded' }]);
    }
  });
}

test('takes a value as large as the limit', async (t) => {
  const text = `"${'x'.repeat(62)}"`;
  t.strictSame(texts(split(text, 5, 64)), [text]);
});

test('holds nothing of what it skips, and no more than the limit of what it takes', async (t) => {
  const splitter = new JsonSplitter(1000);
  splitter.push(Buffer.from('@'));
  t.match(splitter.next(), { error: parseError });
  for (let count = 0; count < 100; count++) {
    splitter.push(Buffer.alloc(1000, 'x'));
    t.equal(splitter.next(), undefined);
    t.equal(splitter.heldBytes, 0);
  }
  splitter.push(Buffer.from(`\n"${'x'.repeat(900)}`));
  t.equal(splitter.next(), undefined);
  t.equal(splitter.heldBytes, 901);
  splitter.push(Buffer.alloc(1000, 'x'));
  t.match(splitter.next(), { error: String });
  t.equal(splitter.overflowed, true);
  splitter.push(Buffer.from('{}'));
  t.equal(splitter.next(), undefined, 'nothing more comes of it');
  t.equal(splitter.heldBytes, 0);
});

import { createHash } from 'node:crypto';
import { test } from 'tap';
import { pageSize } from '../../../src/memory/address.ts';
import {
  decodePages,
  deltaHeadBytes,
  lineBytes,
  maxEncodedBytes,
  nextChanged,
  PageEncoder,
  pageKind,
  pageLines,
} from '../../../src/memory/page-codec.ts';
import { randomNumbers } from '../../support/random.ts';

type Found = { readonly kind: string; readonly page: number; readonly digest?: string };

interface Reference {
  readonly words: Int32Array;
  wordOf(page: number): number;
}

/** What a reference has of a page, with what differs put into it. */
function changed(reference: Reference, page: number, delta: Uint8Array): Uint8Array {
  const all = new Uint8Array(reference.words.buffer);
  const at = reference.wordOf(page) * 4;
  const bytes = all.slice(at, at + pageSize);
  const view = new DataView(delta.buffer, delta.byteOffset);
  const [low, high] = [view.getUint32(0, true), view.getUint32(4, true)];
  let from = deltaHeadBytes;
  for (let line = nextChanged(low, high, 0); line < pageLines; line = nextChanged(low, high, line + 1)) {
    bytes.set(delta.subarray(from, from + lineBytes), line * lineBytes);
    from += lineBytes;
  }
  return bytes;
}

const digest = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');

/** What a decoder finds, page by page. */
function decode(encoded: Uint8Array, ramPages: number, reference?: Reference): Found[] {
  const found: Found[] = [];
  const each = (kind: string, first: number, pages: number): void => {
    for (let page = first; page < first + pages; page++) found.push({ kind, page });
  };
  decodePages(encoded, ramPages, {
    zero: (first, pages) => each('zero', first, pages),
    delta: (page, delta) => {
      const bytes = reference === undefined ? delta : changed(reference, page, delta);
      found.push({ kind: 'delta', page, digest: digest(bytes) });
    },
    raw: (first, bytes) => {
      for (let at = 0; at < bytes.length; at += pageSize) {
        found.push({ kind: 'raw', page: first + at / pageSize, digest: digest(bytes.subarray(at, at + pageSize)) });
      }
    },
  });
  return found;
}

function encode(numbers: readonly number[], bytes: Uint8Array, ...reference: Parameters<PageEncoder['encode']>[2][]) {
  const target = new Uint8Array(maxEncodedBytes(numbers.length));
  const length = new PageEncoder().encode({ numbers: Uint32Array.from(numbers), bytes }, target, ...reference);
  return target.subarray(0, length);
}

const flip = (bytes: Uint8Array, at: number): void => {
  bytes[at] = (bytes[at] as number) ^ 0x81;
};

const filled = (value: number): Uint8Array => new Uint8Array(pageSize).fill(value);
const together = (...pages: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(pages));

for (const seed of [1, 2, 3, 4]) {
  test(`what was encoded is decoded, with and without a reference (seed ${seed})`, async (t) => {
    const random = randomNumbers(seed);
    const encoder = new PageEncoder();
    for (let batch = 0; batch < 10; batch++) {
      const ramPages = 200;
      const numbers = Array.from({ length: ramPages }, (_, page) => page).filter(() => random(3) > 0);
      const referenceBytes = new Uint8Array(ramPages * pageSize);
      const kinds: string[] = [];
      const pages = numbers.map((page) => {
        const reference = referenceBytes.subarray(page * pageSize, (page + 1) * pageSize);
        reference[random(pageSize)] = 1 + random(255);
        const kind = ['zero', 'delta', 'raw'][random(3)] ?? '';
        kinds.push(kind);
        if (kind === 'zero') return filled(0);
        const bytes = reference.slice();
        // Few lines differ, or none; or more of them than a difference is worth.
        if (kind === 'delta') for (let changes = random(20); changes > 0; changes--) flip(bytes, random(pageSize));
        else for (let line = 0; line < 49; line++) flip(bytes, line * lineBytes + random(lineBytes));
        bytes[0] ||= 1;
        return bytes;
      });
      const target = new Uint8Array(maxEncodedBytes(numbers.length));
      const all = together(...pages);
      const words = new Int32Array(referenceBytes.buffer);
      for (const reference of [undefined, { words, wordOf: (page: number) => (page * pageSize) / 4 }]) {
        const length = encoder.encode({ numbers: Uint32Array.from(numbers), bytes: all }, target, reference);
        const found = decode(target.subarray(0, length), ramPages, reference);
        const expected = numbers.map((page, index): Found => {
          const kind = kinds[index] === 'delta' && reference === undefined ? 'raw' : (kinds[index] ?? '');
          return kind === 'zero' ? { kind, page } : { kind, page, digest: digest(pages[index] as Uint8Array) };
        });
        t.equal(JSON.stringify(found), JSON.stringify(expected));
      }
    }
  });
}

test('of a page that the other side has only the lines that differ are sent', async (t) => {
  const reference = { words: new Int32Array(pageSize / 4).fill(0x0101_0101), wordOf: () => 0 };
  for (let at = 0; at < pageSize; at++) {
    const page = filled(1);
    page[at] = 2;
    const encoded = encode([0], page, reference);
    if (encoded.length !== 16 + deltaHeadBytes + lineBytes) t.fail(`byte ${at}: ${encoded.length}`);
    if (decode(encoded, 1, reference)[0]?.digest !== digest(page)) t.fail(`byte ${at}`);
  }
  t.equal(encode([0], filled(1), reference).length, 16 + deltaHeadBytes, 'nothing differs');
  const page = filled(1);
  for (let line = 0; line < 48; line++) page[line * lineBytes] = 2;
  t.equal(encode([0], page, reference).length, 16 + deltaHeadBytes + 48 * lineBytes);
  page[pageSize - 1] = 2;
  t.equal(encode([0], page, reference).length, 16 + pageSize, 'whole, if it differs in most');
});

test('a page with one byte that is not zero is not zero, wherever the byte is', async (t) => {
  for (let at = 0; at < pageSize; at++) {
    const page = filled(0);
    page[at] = 1;
    if (decode(encode([0], page), 1)[0]?.kind !== 'raw') t.fail(`byte ${at}`);
  }
  t.equal(decode(encode([0], filled(0)), 1)[0]?.kind, 'zero');
});

test('pages that lie where they are in RAM, from an origin on, are encoded as those that lie side by side', async (t) => {
  const origin = 40;
  const there = together(filled(1), filled(0), filled(3), filled(4), filled(9), filled(6), filled(0), filled(8));
  const numbers = [40, 41, 42, 43, 45, 46, 47];
  const pageOf = (page: number): Uint8Array =>
    there.subarray((page - origin) * pageSize, (page + 1 - origin) * pageSize);
  const target = new Uint8Array(maxEncodedBytes(numbers.length));
  const length = new PageEncoder().encode({ numbers: Uint32Array.from(numbers), bytes: there, origin }, target);
  const beside = encode(numbers, together(...numbers.map(pageOf)));
  t.equal(Buffer.compare(target.subarray(0, length), beside), 0);
  t.strictSame(
    decode(target.subarray(0, length), 100),
    numbers.map((page) =>
      page === 41 || page === 46 ? { kind: 'zero', page } : { kind: 'raw', page, digest: digest(pageOf(page)) },
    ),
  );
});

test('adjacent pages of a kind are one run', async (t) => {
  t.equal(encode([3, 4, 5, 6], new Uint8Array(4 * pageSize)).length, 16);
  t.equal(encode([3, 4, 6], new Uint8Array(3 * pageSize)).length, 24);
  t.equal(encode([3, 4], together(filled(1), filled(2))).length, 16 + 2 * pageSize);
  t.equal(encode([], new Uint8Array(0)).length, 8);
});

test('a page that the reference does not have is raw', async (t) => {
  const words = new Int32Array(filled(1).buffer);
  const reference = { words, wordOf: (page: number) => (page === 7 ? 0 : -1024) };
  const found = decode(encode([7, 8], together(filled(1), filled(1)), reference), 10);
  t.strictSame(
    found.map(({ kind }) => kind),
    ['delta', 'raw'],
  );
});

/** Encoded pages put together by hand. */
function byHand(runs: readonly [page: number, kind: number, pages: number][], rawPages: number, extra = 0): Uint8Array {
  const encoded = new Uint8Array(8 + runs.length * 8 + rawPages * pageSize + extra);
  const view = new DataView(encoded.buffer);
  view.setUint32(0, runs.length, true);
  view.setUint32(4, rawPages, true);
  runs.forEach(([page, kind, pages], run) => {
    view.setUint32(8 + run * 8, page, true);
    view.setUint32(12 + run * 8, ((kind << 30) | pages) >>> 0, true);
  });
  return encoded;
}

/** The same, with the lines of a difference that stands behind a single run. */
function withLines(encoded: Uint8Array, low: number, high: number): Uint8Array {
  const view = new DataView(encoded.buffer);
  view.setUint32(16, low, true);
  view.setUint32(20, high, true);
  return encoded;
}

const { zero, raw, delta } = pageKind;
const ramPages = 100;
for (const [what, encoded, message] of [
  ['nothing', new Uint8Array(0), /cut within their head/],
  ['half a head', new Uint8Array(7), /cut within their head/],
  ['runs that are cut off', byHand([[0, zero, 1]], 0).subarray(0, 15), /should be 16 bytes/],
  ['a page that is cut off', byHand([[0, raw, 1]], 1).subarray(0, 16 + pageSize - 1), /should be 4112 bytes/],
  ['more runs than there are bytes', Uint8Array.of(255, 255, 255, 255, 0, 0, 0, 0), /should be/],
  ['leftover bytes', byHand([[0, zero, 1]], 0, 1), /1 bytes are left over/],
  ['a page outside of RAM', byHand([[100, zero, 1]], 0), /page 100 is outside/],
  ['a run that leaves RAM', byHand([[99, zero, 2]], 0), /page 100 is outside/],
  ['the largest run at the largest page', byHand([[0xffff_ffff, zero, 0x3fff_ffff]], 0), /outside/],
  ['an empty run', byHand([[1, zero, 0]], 0), /no pages/],
  [
    'a page twice',
    byHand(
      [
        [1, zero, 2],
        [2, zero, 1],
      ],
      0,
    ),
    /page 2 comes after page 2/,
  ],
  [
    'pages that descend',
    byHand(
      [
        [9, zero, 1],
        [2, zero, 1],
      ],
      0,
    ),
    /page 2 comes after page 9/,
  ],
  ['a kind of the future', byHand([[1, 1, 1]], 0), /not known/],
  ['a difference that is not there', byHand([[1, delta, 1]], 0), /cut within its head/],
  ['half a head of a difference', byHand([[1, delta, 1]], 0, 7), /cut within its head/],
  ['a second difference that is not there', byHand([[1, delta, 2]], 0, 8), /cut within its head/],
  ['lines that are cut off', withLines(byHand([[1, delta, 1]], 0, 8 + 127), 1, 0x8000_0000), /should be 136 bytes/],
  ['lines without end', withLines(byHand([[1, delta, 1]], 0, 8), 0xffff_ffff, 0xffff_ffff), /larger than its page/],
  ['bytes behind a difference', withLines(byHand([[1, delta, 1]], 0, 8 + 65), 0, 1), /1 bytes are left over/],
  ['raw pages without a run', byHand([[1, zero, 1]], 1), /raw runs have 0 pages, the head says 1/],
  ['a raw run without pages', byHand([[1, raw, 1]], 0), /raw runs have 1 pages, the head says 0/],
] as const) {
  test(`refuses ${what}, before it tells of any page`, async (t) => {
    let told = 0;
    const tell = (): void => {
      told++;
    };
    t.throws(() => decodePages(encoded, ramPages, { zero: tell, delta: tell, raw: tell }), {
      name: 'PageEncodingError',
      code: 'PAGE_ENCODING',
      message,
    });
    t.equal(told, 0);
  });
}

test('whatever the bytes are, they are pages of RAM or an error with a code', async (t) => {
  const random = randomNumbers(11);
  const good = byHand(
    [
      [0, zero, 3],
      [5, raw, 2],
      [50, delta, 7],
    ],
    2,
    7 * deltaHeadBytes,
  );
  let refused = 0;
  for (let attempt = 0; attempt < 5000; attempt++) {
    const bytes = good.slice(0, random(4) === 0 ? random(good.length + 1) : good.length);
    for (let flips = 1 + random(3); flips > 0 && bytes.length > 0; flips--) {
      bytes[random(Math.min(40, bytes.length))] = random(256);
    }
    try {
      for (const { page } of decode(bytes, ramPages)) if (page >= ramPages) t.fail(`page ${page}`);
    } catch (error) {
      refused++;
      if ((error as { code?: string }).code !== 'PAGE_ENCODING') t.fail(String(error));
    }
  }
  t.ok(refused > 1000 && refused < 5000, `${refused} refused`);
});

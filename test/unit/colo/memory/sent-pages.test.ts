import { test } from 'tap';
import { SentPages } from '../../../../src/colo/memory/sent-pages.ts';
import { pageSize } from '../../../../src/memory/address.ts';

/** Pages whose bytes are all their own number's lowest ones. */
function batch(...numbers: number[]): { readonly numbers: Uint32Array; readonly bytes: Uint8Array } {
  const bytes = new Uint8Array(numbers.length * pageSize);
  for (const [index, page] of numbers.entries()) bytes.fill(page, index * pageSize, (index + 1) * pageSize);
  return { numbers: Uint32Array.from(numbers), bytes };
}

/** What is kept of a page: its first byte, and whether all are so; undefined if nothing is. */
function kept(sent: SentPages, page: number): number | undefined {
  const at = sent.wordOf(page);
  if (at < 0) return undefined;
  const bytes = new Uint8Array(sent.words.buffer, at * 4, pageSize);
  const [first] = bytes;
  return bytes.every((byte) => byte === first) ? first : Number.NaN;
}

test('what was sent is kept, and what is sent again takes its place', async (t) => {
  const sent = new SentPages(100, 4);
  t.equal(kept(sent, 7), undefined);
  sent.keep(batch(7, 9));
  t.strictSame([kept(sent, 7), kept(sent, 9), kept(sent, 8)], [7, 9, undefined]);
  sent.keep({ ...batch(1), numbers: Uint32Array.of(7) });
  t.strictSame([kept(sent, 7), kept(sent, 9)], [1, 9]);
});

test('pages in RAM itself are found by their numbers', async (t) => {
  const sent = new SentPages(100, 4);
  sent.keep({ numbers: Uint32Array.of(11, 13), bytes: batch(11, 12, 13).bytes, origin: 11 });
  t.strictSame([kept(sent, 11), kept(sent, 12), kept(sent, 13)], [11, undefined, 13]);
});

test('without room the page that was taken longest ago makes some', async (t) => {
  const sent = new SentPages(100, 3);
  sent.keep(batch(0, 2, 3));
  sent.keep(batch(4));
  t.strictSame(
    [0, 2, 3, 4].map((page) => kept(sent, page)),
    [undefined, 2, 3, 4],
  );
  sent.keep(batch(3, 5, 6));
  t.strictSame(
    [2, 3, 4, 5, 6].map((page) => kept(sent, page)),
    [undefined, undefined, 4, 5, 6],
  );
});

test('what was forgotten is not there, and its room goes to nobody twice', async (t) => {
  const sent = new SentPages(100, 3);
  sent.keep(batch(0, 1, 2));
  sent.forget(Uint32Array.of(0, 50));
  t.equal(kept(sent, 0), undefined);
  sent.keep(batch(3));
  t.strictSame(
    [0, 1, 2, 3].map((page) => kept(sent, page)),
    [undefined, 1, 2, 3],
  );
  sent.forget(Uint32Array.of(1));
  sent.keep(batch(0, 4, 5));
  t.strictSame(
    [0, 1, 2, 3, 4, 5].map((page) => kept(sent, page)),
    [0, undefined, undefined, undefined, 4, 5],
  );
});

import { test } from 'tap';
import { History } from '../../../../../src/colo/observe/page/history.ts';
import type { Column, Columns, Told, Word } from '../../../../../src/colo/observe/web/told.ts';

const words: readonly Word[] = ['PROTECTED', 'PAIRING'];

/** What is told of some seconds. */
function told(begun: number, next: number, columns: Partial<Record<Column, readonly (number | null)[]>>): Told {
  return { begun, history: { next, words, columns: columns as Columns } } as Told;
}

test('begins with all, then asks for what is new, and adds it', async (t) => {
  const history = new History();
  t.equal(history.from, undefined);
  t.ok(history.take(told(1, 2, { at: [1, 2], ageMs: [5, null] })));
  t.equal(history.from, 2);
  t.ok(history.take(told(1, 3, { at: [3], ageMs: [7] })));
  t.strictSame(history.column('at'), [1, 2, 3]);
  t.strictSame(history.column('ageMs'), [5, null, 7]);
});

test('of a VMM that was started anew all is asked for, and nothing of the old one stays', async (t) => {
  const history = new History();
  history.take(told(1, 2, { at: [1, 2] }));
  t.notOk(history.take(told(2, 9, { at: [] })));
  t.equal(history.from, undefined);
  t.ok(history.take(told(2, 1, { at: [8] })));
  t.strictSame(history.column('at'), [8]);
});

test('forgets what is older than the charts are long', async (t) => {
  const history = new History();
  history.take(told(1, 3, { at: [1, 50, 100], ageMs: [1, 2, 3] }));
  history.take(told(1, 4, { at: [950], ageMs: [4] }));
  t.strictSame(history.column('at'), [50, 100, 950]);
  t.strictSame(history.column('ageMs'), [2, 3, 4]);
});

test('charts are as long as something is known, but at least a minute', async (t) => {
  const history = new History();
  history.take(told(1, 2, { at: [1000, 1001] }));
  t.strictSame(history.window, [941, 1001]);
  history.take(told(1, 3, { at: [1300] }));
  t.strictSame(history.window, [1000, 1300]);
  history.take(told(1, 4, { at: [2000] }));
  t.strictSame(history.window, [1300, 2000]);
});

test('knows what it was told anything of', async (t) => {
  const history = new History();
  history.take(told(1, 2, { at: [1, 2], ageMs: [null, null], logBytes: [null, 0] }));
  t.notOk(history.knows(['ageMs']));
  t.ok(history.knows(['ageMs', 'logBytes']));
  t.notOk(history.knows(['heldPackets']));
});

test('knows from when to when it was in which state', async (t) => {
  const history = new History();
  history.take(told(1, 5, { at: [1, 2, 3, 4, 5], word: [1, 1, 0, 0, 7] }));
  t.strictSame(history.stretches(), [
    { word: 'PAIRING', from: 1, to: 3 },
    { word: 'PROTECTED', from: 3, to: 5 },
    { word: 'NO ANSWER', from: 5, to: 5 },
  ]);
});

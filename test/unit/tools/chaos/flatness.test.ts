import { test } from 'tap';
import { growthOf, type Holding } from '../../../../tools/chaos/flatness.ts';

const rounds = (count: number, of: (round: number) => Partial<Holding>): Holding[] =>
  Array.from({ length: count }, (_, round) => ({ mib: 120, files: 90, ...of(round) }));

test('a pair that holds what it held is flat, whatever it does in between', async (t) => {
  t.strictSame(growthOf(rounds(12, (round) => ({ mib: 120 + 12 * (round % 2), files: 90 + (round % 3) }))), []);
});

test('what a first round or two takes is no growth', async (t) => {
  t.strictSame(growthOf(rounds(12, (round) => (round < 2 ? { mib: 40, files: 30 } : {}))), []);
});

test('memory that grows a little with each round is told, with how much', async (t) => {
  t.strictSame(growthOf(rounds(12, (round) => ({ mib: 120 + 4 * round }))), [
    "the pair's memory grew from 128 to 160 MiB",
  ]);
});

test('a file that stays open now and then is told', async (t) => {
  t.strictSame(growthOf(rounds(24, (round) => ({ files: 90 + Math.floor(round / 2) }))), [
    "the pair's open files grew from 92 to 100",
  ]);
});

test('one great moment is none, and few rounds say nothing', async (t) => {
  t.strictSame(growthOf(rounds(12, (round) => (round === 11 ? { mib: 900, files: 900 } : {}))), []);
  t.strictSame(growthOf(rounds(7, (round) => ({ mib: 100 * round }))), []);
});

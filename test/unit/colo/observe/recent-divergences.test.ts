import { test } from 'tap';
import type { Divergence } from '../../../../src/colo/compare/divergence.ts';
import { RecentDivergences } from '../../../../src/colo/observe/recent-divergences.ts';

function divergence(client: number, before: string, port = 80): Divergence {
  return {
    reason: 'payload',
    flow: `tcp 192.0.2.1:${port} - 198.51.100.7:${client}`,
    position: client,
    before: Buffer.from(before),
    primary: Buffer.from('1'),
    secondary: Buffer.from('2'),
  };
}

test('those of one kind that follow each other are one, the last', async (t) => {
  const recent = new RecentDivergences();
  recent.add(divergence(1001, 'x\r\nDate: 10:00:0'), 1000);
  recent.add(divergence(1002, 'y\r\nDate: 10:00:1'), 2000);
  recent.add(divergence(1003, 'Date: 10:00:2', 81), 3000);
  recent.add(divergence(1004, 'pid ', 81), 4000);
  t.match(recent.list(), [
    { at: 4000, number: 4, times: 1, what: /:1004, byte 1004/ },
    { at: 3000, number: 3, times: 1, what: /:1003/ },
    { at: 2000, number: 2, times: 2, what: /:1002/ },
  ]);
});

test('only the last are kept', async (t) => {
  const recent = new RecentDivergences(3);
  for (let port = 1; port <= 5; port++) recent.add(divergence(1000, '', port), port);
  t.strictSame(
    recent.list().map(({ at }) => at),
    [5, 4, 3],
  );
});

import t, { type Test } from 'tap';
import { type BlockJob, benchBlock } from '../../tools/bench/block.ts';
import type { GuestSpec } from '../../tools/bench/contestants.ts';
import { benchNet } from '../../tools/bench/net.ts';
import { formatRows, type RowsResult } from '../../tools/bench/row-report.ts';

const guest: GuestSpec = { cpus: 1, memoryMib: 256, commandLine: 'console=ttyS0 quiet panic=-1' };
const silent = (): void => {};

/** Whether figures, ratios and what was used fit each other; of one round medians are the values. */
function isConsistent(t: Test, result: RowsResult, others: readonly string[]): void {
  for (const row of result.rows) {
    const number = (key: string): number => (typeof row[key] === 'number' ? row[key] : Number.NaN);
    const contestants = ['ours', ...others];
    const best = Math.max(...others.map(number));
    // Figures are rounded to a tenth, ratios to a thousandth.
    const slack = 0.001 + (0.1 / best) * (1 + row.ratio);
    t.ok(Math.abs(row.ratio - number('ours') / best) < slack, `${row.row}: ratio ${row.ratio} to ${best}`);
    for (const name of contestants) {
      t.ok(number(name) > 0, `${row.row}: ${name} is ${row[name]} ${row.unit}`);
      t.ok(number(`${name}_cpu_s`) >= 0, `${row.row}: ${name} used ${row[`${name}_cpu_s`]} s`);
      t.ok(number(`${name}_exits`) > number(`${name}_mmio_exits`), `${row.row}: ${name} had exits of both kinds`);
    }
  }
  t.equal(result.worst_ratio, Math.min(...result.rows.map(({ ratio }) => ratio)));
  t.ok(result.median_ratio >= result.worst_ratio);
  t.match(formatRows(result), new RegExp(result.rows.map(({ row }) => row).join('[\\s\\S]*')));
}

t.test(
  'disk requests are compared with both ways of QEMU, in figures that fit each other',
  { timeout: 0 },
  async (t) => {
    const jobs: BlockJob[] = [
      { name: 'randread-qd32', pattern: 'randread', blockKib: 4, depth: 32, nominal: 200 },
      { name: 'write-1m', pattern: 'write', blockKib: 1024, depth: 4, nominal: 40 },
      { name: 'fsync-per-write', pattern: 'randwrite', blockKib: 4, depth: 1, nominal: 40, isSynced: true },
    ];
    const result = await benchBlock(guest, 1, silent, { jobs, seconds: 1, warmUp: false });
    t.match(result, { bench: 'block', rounds: 1 });
    t.strictSame(
      result.rows.map(({ row, work }) => [row, work]),
      [
        ['randread-qd32', '200 requests'],
        ['write-1m', '40 MiB'],
        ['fsync-per-write', '40 requests'],
      ],
    );
    isConsistent(t, result, ['qemu_threads', 'qemu_io_uring']);
  },
);

t.test('network traffic is compared with QEMU, in figures that fit each other', { timeout: 0 }, async (t) => {
  const result = await benchNet(guest, 1, silent, { seconds: 1, warmUp: false });
  t.match(result, { bench: 'net', rounds: 1 });
  const names = result.rows.map(({ row }) => row);
  for (const kind of [/^tcp-to-guest$/, /^tcp-from.*no-offload$/, /request-response/, /^udp-to/, /^udp-from/]) {
    t.ok(
      names.some((name) => kind.test(name)),
      `there is a row ${kind}`,
    );
  }
  isConsistent(t, result, ['qemu']);
});

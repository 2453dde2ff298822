import t, { type Test } from 'tap';
import { type BlockJob, benchBlock } from '../../tools/bench/block.ts';
import type { GuestSpec } from '../../tools/bench/contestants.ts';
import { benchNet } from '../../tools/bench/net.ts';
import { benchCheckpoint, quickTimes } from '../../tools/bench/pair/checkpoint.ts';
import { formatCheckpoint } from '../../tools/bench/pair/checkpoint-report.ts';
import { benchFailover } from '../../tools/bench/pair/failover.ts';
import { formatRows, type RowsResult } from '../../tools/bench/row-report.ts';

const guest: GuestSpec = { cpus: 1, memoryMib: 256, commandLine: 'console=ttyS0 quiet panic=-1' };
const silent = (): void => {};
/** A pair takes minutes to be measured: by name only. */
const isAlone = process.env.COLO_TEST_GREP?.includes('measured') === true;

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

if (isAlone) {
  t.test('what protection costs a guest is measured part by part', { timeout: 0 }, async (t) => {
    const result = await benchCheckpoint(quickTimes, silent, ['ours']);
    const { ours } = result.figures;
    t.ok(ours, result.failures.join('; '));
    if (ours === undefined) return;
    for (const name of ['idle', 'loaded']) {
      const { count = 0, median = 0, p99 = 0, parts = {} } = ours.stops[name] ?? {};
      t.ok(count > 0 && median > 0 && p99 >= median, `${name}: ${count} stops of ${median} to ${p99} ms`);
      t.ok(
        Object.values(parts).some((ms) => ms > 0),
        `${name}: it is known where they went`,
      );
    }
    t.ok(ours.beginningMs > 0);
    t.not(ours.copyingSpeed, 0, 'the guest runs while its RAM is copied');
    for (const { clients, unprotected, protected: guarded } of ours.answers) {
      t.ok(
        unprotected > 0 && guarded > 0,
        `${clients} clients are answered ${unprotected} and ${guarded} times a second`,
      );
    }
    t.ok(ours.standbyMib > 0 && ours.aloneMib > 0);
    const compared = result.ratios.filter(({ name }) => name.endsWith('to QEMU'));
    t.ok(compared.length > 0 && compared.every(({ met }) => met === null), 'nothing is claimed about QEMU');
    t.match(formatCheckpoint(result), 'not measured');
  });

  t.test(
    "a client's silence is measured when its server is killed and when its host is lost",
    { timeout: 0 },
    async (t) => {
      const { silences, ratios, failures } = await benchFailover(1, silent, ['ours', 'lost']);
      t.ok((silences.ours?.worst ?? 0) > 0, failures.join('; '));
      t.ok((silences.lost?.worst ?? 0) > 0, failures.join('; '));
      t.strictSame(
        ratios.map(({ ratio }) => ratio !== null),
        [false, false, true],
      );
    },
  );
}

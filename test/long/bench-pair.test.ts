import t from 'tap';
import { benchCheckpoint, quickTimes } from '../../tools/bench/pair/checkpoint.ts';
import { formatCheckpoint } from '../../tools/bench/pair/checkpoint-report.ts';
import { benchFailover } from '../../tools/bench/pair/failover.ts';

const silent = (): void => {};

t.test('what protection costs a guest is measured part by part', { timeout: 0 }, async (t) => {
  const result = await benchCheckpoint(quickTimes, silent, ['comparing']);
  const { comparing: ours } = result.figures;
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
  t.ok(ours.standbyMib.idle > 0 && ours.standbyMib.loaded > 0 && result.unprotectedMib > 0);
  const compared = result.ratios.filter(({ name }) => name.endsWith('to QEMU'));
  t.ok(compared.length > 0 && compared.every(({ met }) => met === null), 'nothing is claimed about QEMU');
  t.match(formatCheckpoint(result), 'not measured');
});

t.test(
  "a client's silence is measured when its server is killed and when its host is lost",
  { timeout: 0 },
  async (t) => {
    const { silences, ratios, failures } = await benchFailover(1, 'comparing', silent, ['ours', 'lost']);
    t.ok((silences.ours?.worst ?? 0) > 0, failures.join('; '));
    t.ok((silences.lost?.worst ?? 0) > 0, failures.join('; '));
    t.strictSame(
      ratios.map(({ ratio }) => ratio !== null),
      [false, false, true],
    );
  },
);

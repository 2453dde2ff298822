import { test } from 'tap';
import type { ChaosReport } from '../../../tools/chaos/report.ts';
import { chaos } from '../../support/chaos-run.ts';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { noTaps } from '../../support/taps.ts';

const skip = noKvm() || noEtcd() || noTaps();
/** Enough that the first and the last quarter are of two rounds each, without those that warm up. */
const rounds = 10;

test('from takeover to takeover a pair holds no more than it did', { skip, timeout: 280_000 }, async (t) => {
  const which = ['--every', '1', '--rounds', String(rounds), '--without', 'overload'];
  const { code, stdout, stderr } = await chaos(...which, '--json').ended;
  t.not(stdout, '', stderr);
  const report = JSON.parse(stdout) as ChaosReport;
  t.strictSame(report.violations, [], `kept: ${report.kept}`);
  t.equal(code, 0);
  for (const { fault, outcomes } of report.faults) t.match(outcomes, { primary: 0, both: 0 }, fault);
  t.equal(report.holdings.length, rounds, 'looked at before each fault');
  for (const { mib, files } of report.holdings) t.ok(mib > 20 && files > 20, `${mib.toFixed(0)} MiB, ${files} files`);
  t.equal(report.isFlat, true);
});

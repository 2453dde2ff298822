import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'tap';
import { faults } from '../../../tools/chaos/faults.ts';
import type { ChaosReport } from '../../../tools/chaos/report.ts';
import { chaos, chaosFolders, processesIn } from '../../support/chaos-run.ts';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { noTaps } from '../../support/taps.ts';

const skip = noKvm() || noEtcd() || noTaps();
/** Overload has its own file. */
const sudden = faults.filter(({ name }) => !name.includes('overload'));

test('through every fault clients are answered by one survivor, who has all that was said', {
  skip,
  timeout: 280_000,
}, async (t) => {
  const { code, stdout, stderr } = await chaos('--without', 'overload', '--rounds', String(sudden.length), '--json')
    .ended;
  t.not(stdout, '', stderr);
  const report = JSON.parse(stdout) as ChaosReport;
  t.strictSame(report.violations, [], `kept: ${report.kept}`);
  t.equal(code, 0);
  t.equal(report.faults.length, sudden.length, 'each fault once');
  t.ok(report.answers > 10 * sudden.length, `${report.answers} answers`);
  const by = (word: string) => report.faults.filter(({ fault }) => fault === word).map(({ outcomes }) => outcomes);
  t.match(by('kill the primary'), [{ standby: 1 }]);
  t.match(by('kill the standby'), [{ primary: 1 }]);
});

test('a switchover is a short pause, whoever else is lost meanwhile', { skip, timeout: 120_000 }, async (t) => {
  const names = faults.map(({ name }) => name).filter((name) => name.includes('switch over'));
  t.ok(names.length >= 4);
  const { stdout, stderr } = await chaos('--faults', 'switch over', '--rounds', String(names.length), '--json').ended;
  t.not(stdout, '', stderr);
  const report = JSON.parse(stdout) as ChaosReport;
  t.strictSame(report.violations, [], `kept: ${report.kept}`);
  const found = report.faults.find(({ fault }) => fault === 'switch over');
  t.match(found?.outcomes, { standby: 1 });
});

test('what was begun is gone when it is interrupted', { skip, timeout: 120_000 }, async (t) => {
  const before = chaosFolders();
  const { child, ended } = chaos('--rounds', '1000');
  await once(child.stderr as never, 'data'); // the first round
  const folders = chaosFolders().filter((name) => !before.includes(name));
  t.equal(folders.length, 1);
  child.kill('SIGINT');
  const { code } = await ended;
  t.equal(code, 1, 'not all rounds');
  t.notOk(existsSync(`${tmpdir()}/${folders[0]}`), 'no files');
  t.strictSame(processesIn(folders[0] as string), [], 'no processes');
});

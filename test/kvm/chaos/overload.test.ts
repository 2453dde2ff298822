import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'tap';
import { faults } from '../../../tools/chaos/faults.ts';
import { findHierarchy } from '../../../tools/chaos/host/processor-quota.ts';
import type { ChaosReport } from '../../../tools/chaos/report.ts';
import { chaos, chaosFolders, processesIn, readOr } from '../../support/chaos-run.ts';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { noMount } from '../../support/small-file-system.ts';
import { noTaps } from '../../support/taps.ts';

const skip = noKvm() || noEtcd() || noTaps() || noMount();

test('whatever a pair lacks for a while, its clients are answered by one survivor, who has all that was said', {
  skip,
  timeout: 280_000,
}, async (t) => {
  const once = faults.filter(({ name }) => name.includes('overload') && !name.includes('again'));
  t.ok(once.length >= 15);
  const which = ['--faults', 'overload', '--without', 'again', '--rounds', String(once.length)];
  const { stdout, stderr } = await chaos(...which, '--json').ended;
  t.not(stdout, '', stderr);
  const report = JSON.parse(stdout) as ChaosReport;
  t.strictSame(report.violations, [], `kept: ${report.kept}`);
  for (const { why } of report.leftOut) t.comment(`left out: ${why}`);
  const left = new Set(report.leftOut.flatMap(({ faults }) => faults));
  const expected = once.map(({ name }) => name).filter((name) => !left.has(name));
  t.strictSame(
    report.faults.map(({ fault }) => fault),
    expected.sort(),
    'each that can be had here once',
  );
});

test('a pair that is overloaded again and again does not flap', { skip, timeout: 250_000 }, async (t) => {
  const { stdout, stderr } = await chaos('--faults', 'again and again', '--rounds', '2', '--json').ended;
  t.not(stdout, '', stderr);
  const report = JSON.parse(stdout) as ChaosReport;
  t.strictSame(report.violations, [], `kept: ${report.kept}`);
  t.equal(report.rounds, 2);
});

test('of a run that is killed while a disk stands still nothing is left', { skip, timeout: 120_000 }, async (t) => {
  const before = chaosFolders();
  const { child, ended } = chaos('--faults', "primary's disk, which stands still", '--rounds', '1000');
  let folder = '';
  await until(() => {
    folder = chaosFolders().find((name) => !before.includes(name)) ?? '';
    return folder !== '' && processesIn(folder).some(({ pid }) => waitsForDisk(pid));
  });
  const inner = childOf(child.pid as number);

  process.kill(inner, 'SIGKILL');

  await ended;
  t.notOk(existsSync(`${tmpdir()}/${folder}`), 'no files');
  // What waited for the disk ends when somebody has let it go.
  await until(() => processesIn(folder).length === 0);
  t.pass('no processes');
  await until(() => !execFileSync('losetup', ['-a'], { encoding: 'utf8' }).includes(folder));
  t.pass('no file system');
  const hierarchy = findHierarchy();
  const groups = typeof hierarchy === 'string' ? [] : readdirSync(hierarchy.root);
  t.strictSame(
    groups.filter((name) => name.startsWith(folder)),
    [],
    'no control groups',
  );
});

/** One of its threads does, and no signal ends it. */
function waitsForDisk(pid: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).some((task) =>
      /^State:\s+D/m.test(readOr(`/proc/${pid}/task/${task}/status`)),
    );
  } catch {
    return false;
  }
}

function childOf(parent: number): number {
  const children = readdirSync('/proc').filter((pid) =>
    new RegExp(`^PPid:\\s+${parent}$`, 'm').test(readOr(`/proc/${pid}/status`)),
  );
  return Number(children[0]);
}

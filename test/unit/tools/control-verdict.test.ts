import t from 'tap';
import { faultsOf, readAccount } from '../../../tools/lab/control-verdict.ts';

const healthy = 'guest: init\r\ntick 1 0.50 1.51\r\nround 1 right\r\ntick 2 1.51 2.60\r\nround 2 right\r\n';
const run = (text: string) => ({
  guest: readAccount(text),
  pauses: 10,
  durationS: 5,
  silenceS: 1,
  endedEarly: undefined,
});

t.test('a healthy guest is counted and gives no fault', async (t) => {
  t.match(readAccount(healthy), { resets: 0, roundsRight: 2, roundsWrong: 0, ticks: 2, uptimeS: 2.6 });
  t.ok(Math.abs(readAccount(healthy).longestTickS - 1.09) < 1e-9);
  t.same(faultsOf(run(healthy)), []);
});

t.test('each way to fail is told', async (t) => {
  t.match(faultsOf(run(healthy + healthy)), [/reset itself 1 times/]);
  t.match(faultsOf(run(`${healthy}round 3 wrong\r\n`)), [/wrong contents in 1 rounds/]);
  t.match(faultsOf(run(`${healthy}tick 3 2.60 40.00\r\n`)), [/took 37.4 s/]);
  t.match(faultsOf(run(`${healthy}[ 9.1] Kernel panic - not syncing: x\r\n`)), [/Kernel panic/]);
  t.match(faultsOf({ ...run(healthy), silenceS: 60 }), [/said nothing for the last 60 s/]);
  t.match(faultsOf({ ...run(healthy), endedEarly: 'SIGSEGV' }), [/ended early: SIGSEGV/]);
  t.match(faultsOf(run('guest: init\r\n')), [/no round/, /never ticked/]);
});

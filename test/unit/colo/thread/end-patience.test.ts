import { mock } from 'node:test';
import { type Test, test } from 'tap';
import { EndPatience } from '../../../../src/colo/thread/end-patience.ts';

/** An end that is kept, and what was called, when. */
function patience(t: Test) {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  let now = 0;
  const called: string[] = [];
  const ending = new EndPatience(
    () => called.push(`overdue ${now}`),
    () => called.push(`finish ${now}`),
  );
  /** Time passes. */
  const pass = (ms: number): void => {
    for (const end = now + ms; now < end; ) {
      now += 100;
      mock.timers.tick(100);
    }
  };
  return { ending, called, pass };
}

test('a machine that is told to stop ends within a second, and its standby is told before', async (t) => {
  const { ending, called, pass } = patience(t);
  ending.begin({ kind: 'stopped', by: 'the monitor', exitCode: 0 });
  pass(10_000);
  t.strictSame(called, ['overdue 600', 'finish 1000']);
});

test('a guest that ends by itself has five seconds for its last words', async (t) => {
  const { ending, called, pass } = patience(t);
  ending.begin({ kind: 'power-off' });
  pass(10_000);
  t.strictSame(called, ['overdue 5000', 'finish 5400']);
});

test('a machine that has ended meanwhile is not ended again', async (t) => {
  const { ending, called, pass } = patience(t);
  ending.begin({ kind: 'power-off' });
  pass(1000);
  ending.close();
  pass(10_000);
  t.strictSame(called, []);
  ending.begin({ kind: 'power-off' });
  pass(5000);
  ending.close();
  pass(1000);
  t.strictSame(called, ['overdue 16000']);
});

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { t, test } from 'tap';
import { quickRun } from '../../../../tools/mutate/quick/quick-run.ts';
import { project, statuses } from './mutated-project.ts';

t.setTimeout(300_000);

const source = `const least = 1 + 1;
export function check(value: number): void {
  if (value < least) throw new RangeError(\`\${value} is too little\`);
}
export function wait(ready: boolean): void {
  if (!ready) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
export function end(broken: boolean): void {
  if (broken) process.kill(process.pid, 'SIGKILL');
}
export function never(): void {}
export function untried(): number { return 1 + 2; }
`;

const order = { file: 'src/check.ts', tests: ['test/check.test.ts'], concurrency: 2, patienceMs: 2000 };

function files(test: string): Record<string, string> {
  return { 'src/check.ts': source, 'test/check.test.ts': `import { test } from 'tap';\n${test}` };
}

test('tells what tests notice, what hangs or ends them, and what nothing comes to', async (t) => {
  const root = project(
    t,
    files(`import { check, end, wait } from '../src/check.ts';
test('names what is too little', async (t) => {
  t.throws(() => check(1), { message: /^1 is/ });
  check(3);
});
test('waits for nothing, and ends nothing', async (t) => {
  wait(true);
  end(false);
  t.pass();
});
`),
  );
  const found = statuses(await quickRun({ ...order, root }, new AbortController().signal));
  t.match(found, {
    '1: 1 - 1': /Killed|Timeout/,
    '3: true': /Killed|Timeout/,
    '3: false': /Killed|Timeout/,
    '3: value >= least': /Killed|Timeout/,
    '3: value <= least': /Survived|Timeout/, // nobody tried 2
    '3: ``': /Killed|Timeout/,
    '6: ready': 'Timeout',
    '6: true': 'Timeout',
    '9: true': /RuntimeError|Timeout/,
    '12: 1 - 2': 'NoCoverage',
  });
  t.strictSame(readdirSync(join(root, '.tap/mutate')), [], 'and leaves nothing behind');
});

test('refuses tests that fail without a change, and names the one', async (t) => {
  const root = project(
    t,
    files(`import { check } from '../src/check.ts';
test('takes what is too little', async () => check(1));
`),
  );
  await t.rejects(quickRun({ ...order, root }, new AbortController().signal), {
    message: /src\/check\.ts: without a change a test fails: takes what is too little: 1 is too little/,
  });
});

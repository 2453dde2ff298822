import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { t, test } from 'tap';
import { runStryker, type StrykerOrder } from '../../../../tools/mutate/stryker-run.ts';
import { project, repository, statuses } from './mutated-project.ts';

// Stryker starts a dozen processes for each of these.
t.setTimeout(600_000);

async function results(order: Omit<StrykerOrder, 'concurrency'>): Promise<Record<string, string>> {
  return statuses(await runStryker({ ...order, concurrency: 2 }, new AbortController().signal));
}

/** Processes with this on their command line. */
function processes(mark: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(mark);
    } catch {
      return false; // gone meanwhile
    }
  });
}

test('a mutant for which a test hangs ends, and so do the processes that the test started', async (t) => {
  const mark = `86400.${process.pid}`;
  const root = project(t, {
    // A thread that waits hears no signal.
    'src/wait.ts': `export function wait(ready: boolean): number {
  if (!ready) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  return 7;
}
`,
    'test/wait.test.ts': `import { spawn } from 'node:child_process';
import { t, test } from 'tap';
import { wait } from '../src/wait.ts';

test('does not wait for what is ready', async (t) => {
  const child = spawn('sleep', ['${mark}'], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  t.equal(wait(true), 7);
});
`,
  });
  const order = { root, file: 'src/wait.ts', tests: ['test/wait.test.ts'], patienceMs: 5000, bundled: true };
  // The two that do not hang may be timeouts as well, where the machine has other things to do.
  t.match(await results(order), {
    '1: {}': /Killed|Timeout/,
    '2: ready': 'Timeout',
    '2: true': 'Timeout',
    '2: false': /Survived|Timeout/,
  });
  t.strictSame(processes(mark), []);
  t.strictSame(readdirSync(join(root, '.tap/mutate')), []);
});

test('finds what only threads of a test come to, and leaves texts of errors alone unless they name something', async (t) => {
  const root = project(t, {
    'src/check.ts': `export function check(value: number, name: string): void {
  if (value === 1) throw new RangeError('one is too little');
  if (value === 2) throw new RangeError(\`\${name} is too little\`);
}
`,
    'test/thread.ts': `import { parentPort } from 'node:worker_threads';
import { check } from '../src/check.ts';
const told = [1, 2, 3].map((value) => {
  try {
    check(value, 'two');
    return '';
  } catch (error) {
    return String(error);
  }
});
parentPort?.postMessage(told);
`,
    'test/main.mjs': `import { register } from 'tsx/esm/api';
register();
await import('./thread.ts');
`,
    'test/check.test.ts': `import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { t, test } from 'tap';

test('names what is too little', async (t) => {
  const worker = new Worker(new URL('./main.mjs', import.meta.url));
  const exited = once(worker, 'exit');
  const [told] = await once(worker, 'message');
  await exited;
  t.match(told, [/RangeError/, /two/, /^$/]);
});
`,
  });
  const found = await results({ root, file: 'src/check.ts', tests: ['test/check.test.ts'], bundled: true });
  t.match(found, { '3: ``': /Killed|Timeout/, '2: false': /Killed|Timeout/, '2: ""': 'Ignored' });
  t.notOk(Object.values(found).includes('NoCoverage'), 'nothing but what a thread came to');
});

test('what has no test is reached by none', async (t) => {
  const noTest = 'tools/mutate/no-test.mjs';
  const root = project(t, {
    'src/sum.ts': 'export const sum = (a: number, b: number): number => a + b;\n',
    [noTest]: readFileSync(join(repository, noTest), 'utf8'),
  });
  t.strictSame(await results({ root, file: 'src/sum.ts', tests: [] }), {
    '1: () => undefined': 'NoCoverage',
    '1: a - b': 'NoCoverage',
  });
});

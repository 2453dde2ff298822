import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';

const module = fileURLToPath(new URL('../../../../src/host/system/compiler.ts', import.meta.url));

/** Calls of a function until V8 has compiled it, as its own natives tell, in a process where nothing else runs. */
function callsUntilCompiled(when: 'soon' | 'late'): number {
  const program = `
    const { compile } = await import(${JSON.stringify(module)});
    compile('${when}');
    const work = new Function('n', 'let sum = 0; for (let i = 0; i < n; i++) sum += i % 7; return sum;');
    const count = new Function('work', 'for (let calls = 1; calls < 1e6; calls++) {' +
      'work(10); if (%GetOptimizationStatus(work) & 16) return calls; } return Infinity;');
    new Function('count', '%NeverOptimizeFunction(count);')(count);
    console.log(count(work));`;
  // What is compiled beside would take its time from another thread's.
  const flags = ['--allow-natives-syntax', '--no-concurrent-recompilation', '--import=tsx', '--input-type=module'];
  return Number(execFileSync(process.execPath, [...flags, '-e', program], { encoding: 'utf8' }));
}

test('what V8 is to compile late runs more often before that', async (t) => {
  const soon = callsUntilCompiled('soon');
  const late = callsUntilCompiled('late');
  t.ok(soon * 2 < late, `${soon} and ${late} calls`);
  t.ok(Number.isFinite(late));
});

/** What `program` prints as JSON, in a process of its own that has the compiler's functions. */
function told(program: string, ...flags: string[]): unknown {
  const parts = `const { asBuilt, compile, keepBytecode } = await import(${JSON.stringify(module)});${program}`;
  const all = [...flags, '--import=tsx', '--input-type=module', '-e', parts];
  return JSON.parse(execFileSync(process.execPath, all, { encoding: 'utf8' }));
}

test('a code cache is taken whatever was chosen, by all threads, and what was chosen holds after that', async (t) => {
  const rejections = told(`
    const { Script } = await import('node:vm');
    const { Worker } = await import('node:worker_threads');
    const text = 'function add(a, b) { return a + b; } add(1, 2)';
    const cachedData = new Script(text).createCachedData();
    // A file name of its own, for otherwise V8 remembers the script and does not look at the cache.
    const rejects = (filename) => new Script(text, { filename, cachedData }).cachedDataRejected;
    const inTurn = [asBuilt(() => rejects('at first'))];
    compile('late');
    keepBytecode();
    inTurn.push(rejects('a'), asBuilt(() => rejects('b')), rejects('c'));
    const body = \`
      import { parentPort, workerData } from 'node:worker_threads';
      import { Script } from 'node:vm';
      import { register } from 'tsx/esm/api';
      register();
      const { text, cachedData } = workerData;
      const rejects = (filename) => new Script(text, { filename, cachedData: Buffer.from(cachedData) }).cachedDataRejected;
      import(${JSON.stringify(module)}).then(({ asBuilt }) => {
        parentPort.postMessage([asBuilt(() => rejects('b')), rejects('c')]);
      });\`;
    const worker = new Worker(body, { eval: true, workerData: { text, cachedData } });
    worker.once('message', (inWorker) => console.log(JSON.stringify([inTurn, inWorker])));`);
  t.same(rejections, [
    [false, true, false, true],
    [false, true],
  ]);
});

test('functions that have not run for long stay compiled where they are to, and are forgotten elsewhere', async (t) => {
  const bytecodeAfterCollection = (keep: string): number =>
    Number(
      told(
        `const { getHeapCodeStatistics } = await import('node:v8');
        ${keep}
        // What only the loading of this needed.
        gc();
        const many = Array.from({ length: 5000 }, (_, n) => new Function('a', 'return [a, ' + n + ', a * a];'));
        for (const one of many) one(1);
        const bytes = () => getHeapCodeStatistics().bytecode_and_metadata_size;
        const before = bytes();
        await new Promise((done) => setTimeout(done, 10));
        gc();
        console.log(bytes() / before, many.length > 0 ? '' : many);`,
        '--expose-gc',
        // Long is then since the last collection.
        '--stress-flush-code',
      ),
    );
  const kept = bytecodeAfterCollection('keepBytecode();');
  const forgotten = bytecodeAfterCollection('');
  // What made the functions is collected in any case.
  t.ok(kept > 4 * forgotten, `${kept} and ${forgotten}`);
});

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

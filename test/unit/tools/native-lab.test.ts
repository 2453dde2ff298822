import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { cacheRoot } from '../../../tools/packages/cache.ts';
import { labContract } from './lab-contract.ts';

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'native hosts are namespaces: run as root';
  if (!existsSync(join(cacheRoot(), 'host-tree'))) return 'no host image yet: npm run lab -- build';
  return undefined;
}

/** Command lines of this process's descendants: what a lab left running. */
function descendants(pid: number): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const parent = /^\d+ \(.*\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'utf8'))?.[1];
        if (Number(parent) !== pid) return [];
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        // tsx compiles this very test with it.
        return command.includes('esbuild') ? [] : [command, ...descendants(Number(name))];
      } catch {
        return [];
      }
    });
}

t.setTimeout(120_000);
t.test('hosts made of namespaces do what a lab must do', { skip: whyNot() ?? false }, async (t) => {
  const source = join(t.testdir({ given: 'a file' }), 'given');
  await t.test('the contract', (t) => labContract(t, 'native', source));
  t.same(descendants(process.pid), [], 'no process is left');
});

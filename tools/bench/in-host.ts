import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import type { Host } from '../lab/host.ts';

/** Beside the VMM's bundle, whose copy of koffi's addon it uses. */
const folder = '/opt/colo-vmm';

/** Stands in for koffi's own loader, as in the VMM's bundle: a plugin would need the asynchronous build (tools/lab). */
const koffi = `const koffi = { exports: {} }; process.dlopen(koffi, '${folder}/koffi.node');`;

/**
 * Runs a program of this folder in a host of the lab, in plain Node, and gives what it printed as JSON.
 *
 * @param onError sees what it says on standard error, line by line
 */
export async function runInHost<T>(
  host: Host,
  source: string,
  order: unknown,
  onError: (line: string) => void,
  timeoutMs: number,
): Promise<T> {
  const path = `${folder}/bench-${source.replace(/\.ts$/, '')}.cjs`;
  await host.push(Buffer.from(bundle(source)), path);
  const result = await host.run(['node', path, JSON.stringify(order)], {
    timeoutMs,
    onOutput: (text, from) => {
      if (from === 'stderr') for (const line of text.trimEnd().split('\n')) onError(line);
    },
  });
  if (result.status !== 0) throw new Error(`${source} failed in the host: ${result.stderr.slice(-2000)}`);
  return JSON.parse(result.stdout) as T;
}

function bundle(source: string): string {
  const result = buildSync({
    entryPoints: [fileURLToPath(new URL(source, import.meta.url))],
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: ['koffi'],
    logLevel: 'silent',
  });
  const [output] = result.outputFiles;
  if (output === undefined) throw new Error(`esbuild made nothing of ${source}`);
  return `${koffi}\n${output.text.replace('require("koffi")', 'koffi.exports')}`;
}

import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

/** Bundles `source`, a file of this folder or a file: URL, into the text of one ES module that plain Node runs. */
export function bundle(source: string): string {
  // The other way leaves a service process running beside ours.
  const result = buildSync({
    entryPoints: [fileURLToPath(new URL(source, import.meta.url))],
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    logLevel: 'silent',
  });
  const [output] = result.outputFiles;
  if (output === undefined) throw new Error(`esbuild made nothing of ${source}`);
  return output.text;
}

import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Bundles `source`, a file of this folder, into the text of one ES module that plain Node runs. */
export async function bundle(source: string): Promise<string> {
  const result = await build({
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

import { readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';

const harness = fileURLToPath(new URL('harness.mjs', import.meta.url));

/**
 * Makes one module of test files, which has them under `tests`, with what runs one under `runTest`. The file `changed` has another
 * text. Modules keep their addresses, for tests start threads from files beside them.
 */
export async function bundleTests(
  root: string,
  tests: readonly string[],
  changed: { readonly path: string; readonly content: string },
  outfile: string,
): Promise<void> {
  const plugin: Plugin = {
    name: 'quick',
    setup({ onLoad, onResolve }) {
      onResolve({ filter: /^tap$/ }, () => ({ path: harness }));
      onLoad({ filter: /\.(ts|mjs)$/ }, ({ path }) => {
        const text = path === changed.path ? changed.content : readFileSync(path, 'utf8');
        const address = JSON.stringify(pathToFileURL(path).href);
        return {
          contents: text.replaceAll('import.meta.url', address),
          loader: extname(path) === '.ts' ? 'ts' : 'js',
        };
      });
    },
  };
  const files = tests.map((test) => `import ${JSON.stringify(join(root, test))};`);
  await build({
    stdin: {
      contents: [...files, `export { runTest, tests } from ${JSON.stringify(harness)};`].join('\n'),
      resolveDir: root,
    },
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    keepNames: true,
    outfile,
    logLevel: 'error',
    plugins: [plugin],
  });
}

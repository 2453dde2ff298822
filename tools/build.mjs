// Makes the bundle: dist/colo-vmm.mjs holds all sources and libraries, and koffi's addon lies where koffi looks
// for it, beside the file. Nothing else is needed to run it.
import { chmodSync, copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const outfile = join(dist, 'colo-vmm.mjs');

rmSync(dist, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ['src/cli.ts'],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 160,
  sourcemap: 'linked',
  legalComments: 'none',
  // commander is CommonJS and asks for Node's own modules by require().
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module';const require = __createRequire(import.meta.url);",
  },
});
chmodSync(outfile, 0o755);

const require = createRequire(import.meta.url);
const koffi = dirname(require.resolve('koffi'));
mkdirSync(join(dist, 'linux_x64'));
copyFileSync(
  join(koffi, '..', '@koromix', 'koffi-linux-x64', 'linux_x64', 'koffi.node'),
  join(dist, 'linux_x64', 'koffi.node'),
);

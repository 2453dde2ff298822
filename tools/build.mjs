// Makes the bundle: dist/colo-vmm.mjs holds all sources and libraries, and koffi's addon
// lies beside it. Nothing else is needed to run it.
import { chmodSync, copyFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const outfile = join(dist, 'colo-vmm.mjs');

// koffi's own loader searches the places where npm might have put its addon; the bundle's lies beside it.
const koffiBeside = {
  name: 'koffi-beside',
  setup(bundler) {
    bundler.onResolve({ filter: /^koffi$/ }, () => ({ path: 'koffi', namespace: 'beside' }));
    bundler.onLoad({ filter: /.*/, namespace: 'beside' }, () => ({
      contents: `import { createRequire } from 'node:module';
        export default createRequire(import.meta.url)('./koffi.node');`,
    }));
  },
};

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
  plugins: [koffiBeside],
  // commander is CommonJS and asks for Node's own modules by require().
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module';const require = __createRequire(import.meta.url);",
  },
});
chmodSync(outfile, 0o755);

const require = createRequire(import.meta.url);
const koffi = dirname(require.resolve('koffi'));
copyFileSync(join(koffi, '..', '@koromix', 'koffi-linux-x64', 'linux_x64', 'koffi.node'), join(dist, 'koffi.node'));

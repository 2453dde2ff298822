// Makes dist/: colo-vmm.cjs is what a user runs. It starts main.cjs or, in a worker thread, vcpu.cjs, io.cjs, colo.cjs or web.cjs, which
// hold all sources and libraries, from the code caches that are made here. koffi's addon lies beside them.
import { chmodSync, copyFileSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');

// koffi's own loader searches the places where npm might have put its addon; the bundle's lies beside it.
const koffiBeside = {
  name: 'koffi-beside',
  setup(bundler) {
    bundler.onResolve({ filter: /^koffi$/ }, () => ({ path: 'koffi', namespace: 'beside' }));
    bundler.onLoad({ filter: /.*/, namespace: 'beside' }, () => ({
      // Without require(), which would search all folders above for what might be meant.
      contents: "process.dlopen(module, __dirname + '/koffi.node');",
    }));
  },
};

// Libraries that few need are programs of their own, which others need not load: only `colo-vmm keys` makes certificates, and only
// `--metrics` figures for Prometheus.
const apart = {
  certificates: { library: '@peculiar/x509', contents: "import 'reflect-metadata'; export * from '@peculiar/x509';" },
  metrics: { library: 'prom-client', contents: "export * from 'prom-client';" },
};
const librariesApart = {
  name: 'libraries-apart',
  setup(bundler) {
    const byLibrary = new Map(Object.entries(apart).map(([name, { library }]) => [library, name]));
    bundler.onResolve({ filter: /^(@peculiar\/x509|reflect-metadata|prom-client)$/ }, ({ path }) => ({
      path,
      namespace: 'apart',
    }));
    bundler.onLoad({ filter: /.*/, namespace: 'apart' }, ({ path }) => ({
      contents: byLibrary.has(path) ? `module.exports = require('./${byLibrary.get(path)}.cjs');` : '',
    }));
  },
};

rmSync(dist, { recursive: true, force: true });
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const options = {
  absWorkingDir: root,
  define: { __COLO_VMM_VERSION__: JSON.stringify(version) },
  outdir: dist,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  minifySyntax: true,
  minifyWhitespace: true,
  lineLimit: 160,
  sourcemap: 'linked',
  legalComments: 'none',
  // Sources that run without a build ask where they lie; in the bundle they do not.
  logOverride: { 'empty-import-meta': 'silent' },
  plugins: [koffiBeside],
};
// Programs of their own: the last one is started by a VMM whose arbiter is a folder.
await build({ ...options, entryPoints: { 'colo-vmm': 'src/launch.ts', terms: 'src/colo/arbiter/term-process.ts' } });
for (const [name, { contents }] of Object.entries(apart)) {
  const outfile = join(dist, `${name}.cjs`);
  await build({ ...options, stdin: { contents, resolveDir: root }, outdir: undefined, outfile });
}
await build({
  ...options,
  plugins: [koffiBeside, librariesApart],
  external: Object.keys(apart).map((name) => `./${name}.cjs`),
  entryPoints: {
    main: 'src/cli.ts',
    vcpu: 'src/vmm/vcpu/vcpu-worker.ts',
    io: 'src/colo/thread/io-worker.ts',
    colo: 'src/colo/thread/colo-worker.ts',
    web: 'src/colo/observe/web/web-worker.ts',
  },
  // A function, for launch.ts to call.
  banner: { js: '(function (exports, require, module, __dirname) {' },
  footer: { js: '})' },
});
chmodSync(join(dist, 'colo-vmm.cjs'), 0o755);

// What `--dashboard` serves; a browser loads nothing from elsewhere.
const page = join(root, 'src', 'colo', 'observe', 'page');
await build({
  absWorkingDir: root,
  entryPoints: [join(page, 'page.ts'), join(page, 'page.css')],
  outdir: join(dist, 'dashboard'),
  bundle: true,
  platform: 'browser',
  format: 'iife',
  target: 'es2022',
  minify: true,
});
copyFileSync(join(page, 'page.html'), join(dist, 'dashboard', 'page.html'));

const koffi = dirname(createRequire(import.meta.url).resolve('koffi'));
copyFileSync(join(koffi, '..', '@koromix', 'koffi-linux-x64', 'linux_x64', 'koffi.node'), join(dist, 'koffi.node'));

// npm links the commands of a project's dependencies, not its own; with this, `npx colo-vmm` runs the clone's.
const command = join(root, 'node_modules', '.bin', 'colo-vmm');
rmSync(command, { force: true });
symlinkSync('../../dist/colo-vmm.cjs', command);

for (const name of ['main', 'vcpu', 'io', 'colo', 'web']) {
  writeFileSync(join(dist, `${name}.cache`), codeCache(readFileSync(join(dist, `${name}.cjs`), 'utf8')));
}

/** V8's code cache for `text`, which is what launch.ts compiles. */
function codeCache(text) {
  // Compiled whole, for a function left out would be compiled at every start.
  setFlagsFromString('--no-lazy');
  const script = new Script(text);
  // V8 takes a cache only with the flags that it was written with.
  setFlagsFromString('--lazy');
  const cachedData = script.createCachedData();
  // Under another name, for otherwise V8 remembers the script and does not look at the cache.
  const { cachedDataRejected } = new Script(text, { cachedData, filename: 'check' });
  if (cachedDataRejected) throw new Error('V8 refuses the code cache that it just made');
  return cachedData;
}

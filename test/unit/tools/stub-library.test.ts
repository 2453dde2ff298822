import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadLibrary } from '../../../src/host/libc/library.ts';
import { functionNames, parseLinked } from '../../../tools/images/program-files.ts';
import { stubLibrary } from '../../../tools/packages/stub-library.ts';

t.test('the dynamic linker loads a stub and finds the names in it, and no others', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'stub-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'libstub.so.1');
  writeFileSync(path, stubLibrary(['first_one', 'middle', 'last_one']));
  const library = loadLibrary(path);
  for (const name of ['first_one', 'middle', 'last_one']) t.ok(library?.func(`void ${name}()`), name);
  t.throws(() => library?.func('void not_there()'), /not_there/);
});

t.test('a stub without functions loads too', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'stub-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'libempty.so.1');
  writeFileSync(path, stubLibrary([]));
  t.ok(loadLibrary(path));
  t.throws(() => loadLibrary(path)?.func('void anything()'), /anything/);
});

t.test('function names are whole strings with one of the prefixes, each once', async (t) => {
  const elf = Buffer.from('\x7fELF\0rbd_open\0xrbd_no\0rados_read\0rbd_open\0rbd_ no\0librbd.so\0');
  t.strictSame(functionNames(elf, ['rbd_', 'rados_']), ['rados_read', 'rbd_open']);
});

t.test('libraries are read from what the dynamic linker lists', async (t) => {
  const text = [
    '\tlinux-vdso.so.1 (0x00007ffe8a9f2000)',
    '\tlibz.so.1 => /cache/root/lib/libz.so.1 (0x00007f3f1c000000)',
    '\t/lib64/ld-linux-x86-64.so.2 => /cache/root/lib/ld.so.2 (0x00007f3f1c400000)',
  ].join('\n');
  t.strictSame(parseLinked(text), [{ name: 'libz.so.1', source: '/cache/root/lib/libz.so.1' }]);
});

t.test('this machine lists its libraries in that form', async (t) => {
  const linker = '/lib64/ld-linux-x86-64.so.2';
  const { stdout, status } = spawnSync(linker, ['--list', process.execPath], { encoding: 'utf8' });
  t.equal(status, 0);
  t.ok(parseLinked(stdout).some(({ name }) => name === 'libc.so.6'));
});

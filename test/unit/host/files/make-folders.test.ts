import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { makeFolders } from '../../../../src/host/files/make-folders.ts';

test('folders are made, with those above them, or it is said why not', async (t) => {
  const folder = join(t.testdir(), 'a', 'b', 'c');
  makeFolders(folder, 0o700);
  makeFolders(folder, 0o700);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  writeFileSync(join(folder, 'file'), '');
  t.throws(() => makeFolders(join(folder, 'file')), { code: 'EEXIST' });
  t.throws(() => makeFolders(join(folder, 'file', 'below')), { code: 'ENOTDIR' });
  t.throws(() => makeFolders('/proc/none/below'), { code: 'ENOENT' }, 'where nobody can make any');
});

import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { readFileBytes } from '../../../../src/host/files/file-bytes.ts';
import { openFiles } from '../../../support/open-files.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

const descriptors = (): number => openFiles().length;

test('reads a file whole, and gives its memory back', async (t) => {
  const path = join(temporaryFolder(t), 'file');
  const contents = Uint8Array.from({ length: 300_001 }, (_, index) => index * 7);
  writeFileSync(path, contents);
  const before = descriptors();
  const file = readFileBytes(path);
  t.ok(Buffer.from(file.bytes).equals(contents));
  file.close();
  t.equal(descriptors(), before);
});

test('reads an empty file, a link, and a path longer than a name may be', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'empty'), '');
  writeFileSync(join(folder, 'file'), 'text');
  symlinkSync('file', join(folder, 'link'));
  t.equal(readFileBytes(join(folder, 'empty')).bytes.length, 0);
  t.equal(Buffer.from(readFileBytes(join(folder, 'link')).bytes).toString(), 'text');
  const winding = `${folder}${'/.'.repeat(300)}/file`;
  t.equal(Buffer.from(readFileBytes(winding).bytes).toString(), 'text');
});

test('refuses what is no regular file, and leaves no descriptor', async (t) => {
  const before = descriptors();
  t.throws(() => readFileBytes('/no/such'), { code: 'ENOENT' });
  t.throws(() => readFileBytes('/tmp'), { code: 'EISDIR' });
  t.throws(() => readFileBytes('/dev/zero'), { code: 'EINVAL', message: /not a regular file/ });
  t.equal(descriptors(), before);
});

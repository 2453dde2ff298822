import { join } from 'node:path';
import { test } from 'tap';
import { writeMark } from '../../../src/block/standby-mark.ts';
import { temporaryFolder } from '../../support/vmm-process.ts';

test('a mark that cannot be written is named', async (t) => {
  const path = join(temporaryFolder(t), 'none', 'disk.img');
  await t.rejects(writeMark(path, { pair: 'web', term: 1 }), { message: new RegExp(`^${path}\\.standby: ENOENT`) });
});

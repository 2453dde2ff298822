import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkDisks, closeDisks, createDisk, createDisks, mostDisks } from '../../../tools/lab/disks.ts';
import { cacheRoot } from '../../../tools/packages/cache.ts';
import { openFiles } from '../../support/open-files.ts';

t.beforeEach((t) => {
  const before = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = t.testdir({});
  t.teardown(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
  });
});

t.test('a disk is a copy of its source in whole sectors, and has no name', async (t) => {
  const source = join(t.testdir({ image: '' }), 'image');
  writeFileSync(source, Buffer.alloc(1000, 7));
  const disk = await createDisk({ source });
  const content = Buffer.alloc(2000);
  const { bytesRead } = await disk.read(content, 0, content.length, 0);
  t.equal(bytesRead, 1024);
  t.ok(content.subarray(0, 1000).every((byte) => byte === 7));
  t.ok(content.subarray(1000, 1024).every((byte) => byte === 0));
  t.same(readdirSync(cacheRoot()), []);
  await disk.write(Buffer.from('other'), 0, 5, 0);
  t.ok(
    readFileSync(source).every((byte) => byte === 7),
    'the source is as it was',
  );
  await disk.close();
});

t.test('an empty disk, and the holes of a copied one, take no room', async (t) => {
  const sizeBytes = 64 * 1024 * 1024;
  const [[empty] = []] = await createDisks(1, [{ sizeBytes }]);
  const copy = await createDisk({ source: `/proc/${process.pid}/fd/${empty?.fd}` });
  for (const disk of [empty, copy]) {
    const { size, blocks } = statSync(`/proc/self/fd/${disk?.fd}`);
    t.equal(size, sizeBytes);
    t.ok(blocks * 512 < 1024 * 1024, `${blocks} blocks`);
    await disk?.close();
  }
});

t.test('every host has its own, and one that cannot be made leaves none open', async (t) => {
  const open = openFiles().length;
  const disks = await createDisks(2, [{ sizeBytes: 512 }, { sizeBytes: 1024 }]);
  t.same(
    disks.map((own) => own.length),
    [2, 2],
  );
  t.equal(openFiles().length, open + 4);
  await closeDisks(disks);
  t.equal(openFiles().length, open);
  await t.rejects(createDisks(2, [{ sizeBytes: 512 }, { source: '/no/such/image' }]), /no\/such\/image/);
  t.equal(openFiles().length, open);
  await t.rejects(createDisk({ source: t.testdir({}) }), /cp/);
  t.equal(openFiles().length, open);
});

t.test('refuses disks that no host can have', async (t) => {
  for (const sizeBytes of [0, -512, 1000, 512.5, Number.NaN]) {
    t.throws(() => checkDisks([{ sizeBytes }]), /whole sectors/);
  }
  t.throws(() => checkDisks(Array.from({ length: mostDisks + 1 }, () => ({ sizeBytes: 512 }))), /at most 8/);
  t.doesNotThrow(() => checkDisks([{ source: '/some/file' }, { sizeBytes: 512 }]));
});

import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { cached, cacheRoot, keyOf, withLock } from '../../../tools/packages/cache.ts';
import { silent } from '../../../tools/packages/progress.ts';

t.beforeEach((t) => {
  process.env.XDG_CACHE_HOME = t.testdir();
});

const entry = (build: (directory: string) => Promise<void>) => cached({ kind: 'things', key: 'k', build });

t.test('an entry is built once', async (t) => {
  let built = 0;
  const build = async (directory: string) => {
    built++;
    await writeFile(join(directory, 'file'), 'content');
  };
  const first = await entry(build);
  t.equal(await entry(build), first);
  t.equal(built, 1);
  t.equal(await readFile(join(first, 'file'), 'utf8'), 'content');
});

t.test('builders of one entry at the same time build it once', async (t) => {
  let built = 0;
  const build = async (directory: string) => {
    built++;
    await new Promise((resolve) => setTimeout(resolve, 50));
    await writeFile(join(directory, 'file'), 'content');
  };
  await Promise.all([entry(build), entry(build), entry(build)]);
  t.equal(built, 1);
});

t.test('a build that fails leaves nothing', async (t) => {
  await t.rejects(
    entry(async (directory) => {
      await writeFile(join(directory, 'half'), '');
      throw new Error('no more room');
    }),
    /no more room/,
  );
  t.same(await readdir(join(cacheRoot(), 'things')), []);
});

t.test('what a killed build left behind is removed, what a living one makes is not', async (t) => {
  const noProcess = 2 ** 22;
  const [dead, alive] = [`tmp-${noProcess}-aa`, `tmp-${process.pid}-bb`];
  for (const name of [dead, alive]) await mkdir(join(cacheRoot(), 'things', name), { recursive: true });
  await entry(async () => {});
  t.notOk(existsSync(join(cacheRoot(), 'things', dead)));
  t.ok(existsSync(join(cacheRoot(), 'things', alive)));
});

t.test('entries nobody used for long go when a new one comes', async (t) => {
  const old = join(cacheRoot(), 'things', 'old');
  await mkdir(old, { recursive: true });
  await utimes(old, new Date(0), new Date(0));
  await entry(async () => {});
  t.notOk(existsSync(old));
});

t.test('a lock of a process that is no more counts as free', async (t) => {
  const path = join(cacheRoot(), 'some.lock');
  await mkdir(cacheRoot(), { recursive: true });
  await writeFile(path, `${2 ** 22}\n`);
  t.equal(await withLock(path, silent, async () => 'done'), 'done');
  t.notOk(existsSync(path));
});

t.test('a key depends on every part and its place', async (t) => {
  t.equal(keyOf('a', ['b'], null), keyOf('a', ['b'], null));
  t.not(keyOf('a', 'b'), keyOf('b', 'a'));
  t.not(keyOf(['a', 'b']), keyOf('a', 'b'));
});

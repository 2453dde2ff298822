import { spawnSync } from 'node:child_process';
import t from 'tap';
import { rootFsFiles, rootFsInit, rootFsModules } from '../../../tools/images/root-fs-files.ts';

const id = '0123456789abcdef0123456789abcdef';

t.test('every file has a place of its own below the root, and either content or a target', async (t) => {
  const files = rootFsFiles(id);
  t.equal(new Set(files.map(({ path }) => path)).size, files.length);
  for (const { path, content, symlink } of files) {
    t.notMatch(path, /^\/|\.\./);
    t.not(content === undefined, symlink === undefined, path);
  }
});

t.test('the machine has the id it was given, and files end with a line', async (t) => {
  const contentOf = (path: string) => rootFsFiles(id).find((file) => file.path === path)?.content;
  t.equal(contentOf('etc/machine-id'), `${id}\n`);
  t.match(contentOf('etc/systemd/network/10-card.network'), /\nDHCP=ipv4\n/);
  for (const { content } of rootFsFiles(id)) if (content !== undefined) t.match(content, /\n$/);
});

t.test('masks no unit that its services, its card or its power button need', async (t) => {
  const masked = rootFsFiles(id)
    .filter(({ symlink }) => symlink === '/dev/null')
    .map(({ path }) => path.slice(path.lastIndexOf('/') + 1));
  t.ok(masked.length > 0);
  const needed = [/nginx/, /redis/, /networkd/, /udevd/, /logind/, /dbus/, /journald/, /serial-getty/, /remount-fs/];
  for (const unit of needed)
    t.notOk(
      masked.some((name) => unit.test(name)),
      String(unit),
    );
});

t.test('the init is a shell script, and its modules are in the image too', async (t) => {
  t.match(rootFsInit, /^#!\/bin\/sh\necho 'guest: init'\n/);
  t.match(rootFsInit, /exec switch_root \/newroot \/sbin\/init\n$/);
  t.equal(spawnSync('sh', ['-n'], { input: rootFsInit }).status, 0);
  for (const name of rootFsModules.boot) t.ok((rootFsModules.image as readonly string[]).includes(name), name);
});

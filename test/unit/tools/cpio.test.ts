import t from 'tap';
import { cpioArchive } from '../../../tools/images/cpio.ts';

interface Unpacked {
  readonly name: string;
  readonly mode: number;
  readonly data: string;
  readonly device: readonly [number, number];
}

/** Reads an archive by the letter of the format, independently of the writer. */
function unpack(archive: Buffer): Unpacked[] {
  const entries: Unpacked[] = [];
  for (let at = 0; ; ) {
    const field = (index: number) =>
      Number.parseInt(archive.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16);
    if (archive.toString('latin1', at, at + 6) !== '070701') throw new Error(`no header at ${at}`);
    const [size, nameSize] = [field(6), field(11)];
    const name = archive.toString('utf8', at + 110, at + 110 + nameSize - 1);
    const dataAt = Math.ceil((at + 110 + nameSize) / 4) * 4;
    if (name === 'TRAILER!!!') return entries;
    entries.push({
      name,
      mode: field(1),
      data: archive.toString('utf8', dataAt, dataAt + size),
      device: [field(9), field(10)],
    });
    at = Math.ceil((dataAt + size) / 4) * 4;
  }
}

t.test('writes what a reader of the format finds again', async (t) => {
  const archive = cpioArchive([
    { path: 'etc', type: 'directory' },
    { path: 'etc/motd', type: 'file', content: 'odd' },
    { path: 'init', type: 'file', mode: 0o755, content: Buffer.from('#!/bin/sh\n') },
    { path: 'bin/sh', type: 'symlink', target: 'busybox' },
    { path: 'dev/console', type: 'character-device', major: 5, minor: 1 },
  ]);
  const byName = new Map(unpack(archive).map((entry) => [entry.name, entry]));
  t.match(byName.get('etc/motd'), { mode: 0o100644, data: 'odd' });
  t.match(byName.get('init'), { mode: 0o100755, data: '#!/bin/sh\n' });
  t.match(byName.get('bin/sh'), { mode: 0o120777, data: 'busybox' });
  t.match(byName.get('dev/console'), { mode: 0o020600, device: [5, 1] });
  t.equal(archive.length % 512, 0);
});

t.test('adds the folders an entry lies in, once and before it', async (t) => {
  const names = unpack(
    cpioArchive([
      { path: '/usr/lib/a', type: 'file', content: '' },
      { path: 'usr/lib', type: 'directory' },
      { path: 'usr/lib/b', type: 'file', content: '' },
    ]),
  ).map(({ name }) => name);
  t.same(names, ['usr', 'usr/lib', 'usr/lib/a', 'usr/lib/b']);
});

t.test('gives the same bytes for the same entries', async (t) => {
  const entries = [{ path: 'a/b', type: 'file', content: 'x' }] as const;
  t.ok(cpioArchive(entries).equals(cpioArchive(entries)));
});

t.test('refuses an entry that is the root itself', async (t) => {
  t.throws(() => cpioArchive([{ path: '/', type: 'directory' }]), /below the root/);
});

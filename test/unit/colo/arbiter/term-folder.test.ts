import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { type FolderCalls, markerName, TermFolder } from '../../../../src/colo/arbiter/term-folder.ts';
import { openFiles } from '../../../support/open-files.ts';

function folderOf(t: Test): string {
  const folder = t.testdir();
  fs.writeFileSync(join(folder, markerName), '');
  return folder;
}

const claimOf = (term: number, holder = 'us') => ({ pair: 'web', term, holder });
const termFile = (folder: string, term: number): string =>
  join(folder, 'web', `term-${String(term).padStart(16, '0')}`);

/** A failure as the kernel reports it. */
function failing(code: string, syscall: string): never {
  throw Object.assign(new Error(`${code}: as told, ${syscall} '/proc/self/fd/0/x'`), { code, syscall });
}

function withFaults(folder: string, faults: Partial<FolderCalls>): TermFolder {
  return new TermFolder(folder, { ...fs, ...faults });
}

test('one side gets a term, the other is told who has it; the same one gets it again', (t) => {
  const folder = folderOf(t);
  const [a, b] = [new TermFolder(folder), new TermFolder(folder)];
  t.strictSame(a.ask('register', claimOf(6, 'a')), { kind: 'granted' });
  t.strictSame(b.ask('claim', claimOf(7, 'b')), { kind: 'granted' });
  t.strictSame(a.ask('claim', claimOf(7, 'a')), { kind: 'refused', term: 7, holder: 'b' });
  t.strictSame(b.ask('claim', claimOf(7, 'b')), { kind: 'granted' }, 'an answer may have been lost');
  t.strictSame(a.ask('register', claimOf(7, 'a')), { kind: 'refused', term: 7, holder: 'b' });
  t.strictSame(a.ask('register', claimOf(5, 'a')), { kind: 'refused', term: 7, holder: 'b' });
  t.strictSame(b.ask('register', claimOf(9, 'b')), { kind: 'granted' });
  t.strictSame(a.check('web'), { term: 9, holder: 'b' });
  t.strictSame(a.check('other'), undefined, 'a pair is nothing to another one');
  t.end();
});

test('a claim that does not follow the last term is no yes', (t) => {
  const folder = folderOf(t);
  const arbiter = new TermFolder(folder);
  t.throws(() => arbiter.ask('claim', claimOf(2)), {
    code: 'ARBITER',
    message: /does not know this pair.*mounted there/,
  });
  arbiter.ask('register', claimOf(3));
  t.throws(() => arbiter.ask('claim', claimOf(7)), { code: 'ARBITER', message: /knows it in term 3, though.*term 6/ });
  t.end();
});

test('of two that claim a term at the same time, one gets it', (t) => {
  const folder = folderOf(t);
  new TermFolder(folder).ask('register', claimOf(1, 'before'));
  const rival = (linked: () => void): TermFolder =>
    withFaults(folder, {
      linkSync: (from, to) => {
        linked();
        fs.linkSync(from, to);
      },
    });
  // Both have looked before either links.
  const verdicts: unknown[] = [];
  const second = rival(() => {});
  const first = rival(() => verdicts.push(second.ask('claim', claimOf(2, 'b'))));
  verdicts.push(first.ask('claim', claimOf(2, 'a')));
  t.strictSame(verdicts, [{ kind: 'granted' }, { kind: 'refused', term: 2, holder: 'b' }]);
  t.end();
});

test('a later term that was registered between the look and the link wins', (t) => {
  const folder = folderOf(t);
  new TermFolder(folder).ask('register', claimOf(1, 'before'));
  const late = withFaults(folder, {
    linkSync: (from, to) => {
      new TermFolder(folder).ask('register', claimOf(5, 'b'));
      fs.linkSync(from, to);
    },
  });
  t.strictSame(late.ask('claim', claimOf(2, 'a')), { kind: 'refused', term: 5, holder: 'b' });
  t.strictSame(new TermFolder(folder).check('web'), { term: 5, holder: 'b' });
  t.end();
});

test('whatever link says, what stands counts', (t) => {
  for (const code of ['EEXIST', 'EIO', 'ESTALE', 'ETIMEDOUT']) {
    const folder = folderOf(t);
    new TermFolder(folder).ask('register', claimOf(1, 'b'));
    const lossy = withFaults(folder, {
      linkSync: (from, to) => {
        fs.linkSync(from, to);
        failing(code, 'link');
      },
    });
    t.strictSame(lossy.ask('claim', claimOf(2)), { kind: 'granted' }, `its own success, told as ${code}`);
    const beaten = withFaults(folder, {
      linkSync: (_, to) => {
        fs.writeFileSync(to, '{"holder":"b"}\n', { flag: 'wx' });
        failing(code, 'link');
      },
    });
    t.strictSame(
      beaten.ask('claim', claimOf(3)),
      { kind: 'refused', term: 3, holder: 'b' },
      `another's, told as ${code}`,
    );
    const broken = withFaults(folder, { linkSync: () => failing(code, 'link') });
    t.throws(() => broken.ask('claim', claimOf(4)), { code: 'ARBITER', message: code }, `nobody's, told as ${code}`);
  }
  t.end();
});

test('a term that may not outlive a crash is not granted, and is once it does', (t) => {
  const folder = folderOf(t);
  new TermFolder(folder).ask('register', claimOf(1, 'b'));
  let syncs = 0;
  const failsAt = (which: number): TermFolder => {
    syncs = 0;
    return withFaults(folder, {
      fsyncSync: (fd) => {
        if (++syncs === which) failing('EIO', 'fsync');
        fs.fsyncSync(fd);
      },
    });
  };
  t.throws(() => failsAt(1).ask('claim', claimOf(2)), { code: 'ARBITER', message: 'EIO' });
  t.notOk(fs.existsSync(termFile(folder, 2)), 'what could not be written was given no name');
  const last = failsAt(99);
  last.ask('claim', claimOf(2));
  t.throws(() => failsAt(syncs).ask('claim', claimOf(3)), { code: 'ARBITER', message: 'EIO' }, 'its name may be lost');
  t.strictSame(new TermFolder(folder).ask('claim', claimOf(3)), { kind: 'granted' });
  t.end();
});

test('a folder where nothing can be written is no arbiter, and nothing is left there', (t) => {
  const folder = folderOf(t);
  new TermFolder(folder).ask('register', claimOf(1, 'b'));
  const full = withFaults(folder, { writeSync: () => failing('ENOSPC', 'write') });
  t.throws(() => full.ask('claim', claimOf(2)), { code: 'ARBITER', message: 'ENOSPC' });
  t.throws(() => full.check('web'), { code: 'ARBITER', message: 'ENOSPC' }, 'it is told before it matters');
  const half = withFaults(folder, { writeSync: () => 3 as never });
  t.throws(() => half.ask('claim', claimOf(2)), { code: 'ARBITER', message: /written whole/ });
  t.strictSame(fs.readdirSync(join(folder, 'web')), ['term-0000000000000001']);
  t.end();
});

test('a stale handle is an error of one question; the next one opens everything anew', (t) => {
  const folder = folderOf(t);
  new TermFolder(folder).ask('register', claimOf(1, 'b'));
  let stale = true;
  const arbiter = withFaults(folder, {
    readdirSync: ((path: string) => {
      if (stale) failing('ESTALE', 'scandir');
      return fs.readdirSync(path);
    }) as never,
  });
  t.throws(() => arbiter.ask('claim', claimOf(2)), { code: 'ARBITER', message: 'ESTALE' });
  stale = false;
  t.strictSame(arbiter.ask('claim', claimOf(2)), { kind: 'granted' });
  t.end();
});

test('that a file written aside cannot be removed hides nothing, and it goes when it is old', (t) => {
  const folder = folderOf(t);
  const stuck = withFaults(folder, { unlinkSync: () => failing('EIO', 'unlink') });
  t.strictSame(stuck.ask('register', claimOf(1)), { kind: 'granted' });
  const left = (): string[] => fs.readdirSync(join(folder, 'web')).filter((name) => name.startsWith('.'));
  const young = left();
  t.ok(young.length > 0);
  new TermFolder(folder).check('web');
  t.strictSame(left(), young, 'it may belong to somebody who is at work');
  for (const name of young) fs.utimesSync(join(folder, 'web', name), 0, 0);
  new TermFolder(folder).check('web');
  t.strictSame(left(), []);
  t.strictSame(new TermFolder(folder).check('web'), { term: 1, holder: 'us' }, "a term's own file stays, however old");
  t.end();
});

test('of old terms a few stay, and the last one always does', (t) => {
  const folder = folderOf(t);
  const arbiter = new TermFolder(folder);
  for (let term = 1; term <= 30; term++) arbiter.ask('register', claimOf(term));
  arbiter.check('web');
  const names = fs.readdirSync(join(folder, 'web')).sort();
  t.ok(names.length < 10, `${names.length}`);
  t.equal(names.at(-1), 'term-0000000000000030');
  t.end();
});

test('a folder without its marker is no arbiter: its file system may not be mounted', (t) => {
  const folder = folderOf(t);
  const arbiter = new TermFolder(folder);
  arbiter.ask('register', claimOf(1));
  fs.rmSync(join(folder, markerName));
  for (const act of [
    () => arbiter.ask('register', claimOf(2)),
    () => arbiter.ask('claim', claimOf(2)),
    () => arbiter.check('web'),
  ]) {
    t.throws(act, { code: 'ARBITER', message: new RegExp(`no file ${markerName}.*mounted.*touch ${folder}`) });
  }
  fs.mkdirSync(join(folder, markerName));
  t.throws(() => arbiter.check('web'), { message: /no file/ });
  fs.rmdirSync(join(folder, markerName));
  t.strictSame(fs.readdirSync(folder), ['web'], 'nothing was made there');
  t.throws(() => new TermFolder(join(folder, 'nowhere')).check('web'), {
    code: 'ARBITER',
    message: new RegExp(`ENOENT.*${join(folder, 'nowhere')}`),
  });
  t.end();
});

test('a file system that goes between the marker and the rest is not mistaken for what is under it', (t) => {
  const folder = folderOf(t);
  const [mounted, under] = [join(folder, 'mounted'), join(folder, 'under')];
  for (const path of [mounted, under]) fs.mkdirSync(path);
  fs.writeFileSync(join(mounted, markerName), '');
  const link = join(folder, 'link');
  fs.symlinkSync(mounted, link);
  const arbiter = withFaults(link, {
    lstatSync: ((path: string) => {
      const found = fs.lstatSync(path);
      fs.rmSync(link);
      fs.symlinkSync(under, link);
      return found;
    }) as never,
  });
  arbiter.ask('register', claimOf(1));
  t.strictSame(fs.readdirSync(under), []);
  t.ok(fs.existsSync(termFile(mounted, 1)));
  t.end();
});

test('what strangers put there is an error that names it, whatever it is', (t) => {
  const strange: readonly (readonly [string, (path: string) => void])[] = [
    ['nothing', (path) => fs.writeFileSync(path, '')],
    ['no JSON', (path) => fs.writeFileSync(path, 'a'.repeat(100))],
    ['another JSON', (path) => fs.writeFileSync(path, '{"holder":7}')],
    ['a long name', (path) => fs.writeFileSync(path, JSON.stringify({ holder: 'a'.repeat(1000) }))],
    ['a large file', (path) => fs.writeFileSync(path, `{"holder":"a"}${' '.repeat(5000)}`)],
    ['a folder', (path) => fs.mkdirSync(path)],
    ['a link', (path) => fs.symlinkSync('/etc/hostname', path)],
    ['a pipe that nobody writes to', (path) => execFileSync('mkfifo', [path])],
  ];
  for (const [what, put] of strange) {
    const folder = folderOf(t);
    const arbiter = new TermFolder(folder);
    arbiter.ask('register', claimOf(1));
    put(termFile(folder, 2));
    for (const term of [2, 3]) {
      t.throws(() => arbiter.ask('claim', claimOf(term)), { code: 'ARBITER', message: termFile(folder, 2) }, what);
    }
  }
  t.end();
});

test('names that are none of ours are passed over, and not too many of them', (t) => {
  const folder = folderOf(t);
  const arbiter = new TermFolder(folder);
  arbiter.ask('register', claimOf(1));
  for (const name of ['term-9', 'term-9999999999999999', 'term-0000000000000009x', 'README', '.nfs0001']) {
    fs.writeFileSync(join(folder, 'web', name), '{"holder":"stranger"}');
  }
  t.strictSame(arbiter.check('web'), { term: 1, holder: 'us' });
  const crowded = withFaults(folder, {
    readdirSync: (() => Array.from({ length: 10_001 }, (_, index) => `${index}`)) as never,
  });
  t.throws(() => crowded.check('web'), { code: 'ARBITER', message: /does something else write there/ });
  t.end();
});

test('says what a file system lacks that has no hard links', (t) => {
  const folder = folderOf(t);
  const arbiter = withFaults(folder, { linkSync: () => failing('EPERM', 'link') });
  t.throws(() => arbiter.ask('register', claimOf(1)), { code: 'ARBITER', message: /has no hard links/ });
  t.end();
});

test('closes what it opened, whichever call fails', (t) => {
  const open = (): number => openFiles().length;
  const { openSync, fstatSync, readSync, writeSync, fsyncSync, mkdirSync, linkSync, readdirSync } = fs;
  const calls = { openSync, fstatSync, readSync, writeSync, fsyncSync, mkdirSync, linkSync, readdirSync };
  for (const [call, real] of Object.entries(calls) as [string, (...args: unknown[]) => unknown][]) {
    for (let nth = 1; nth <= 3; nth++) {
      const folder = folderOf(t);
      new TermFolder(folder).ask('register', claimOf(1));
      let count = 0;
      const arbiter = withFaults(folder, {
        [call]: (...args: unknown[]) => (++count === nth ? failing('EIO', call) : real(...args)),
      });
      const before = open();
      try {
        arbiter.ask('claim', claimOf(2));
      } catch (error) {
        t.match(error, { code: 'ARBITER' });
      }
      t.equal(open(), before, `${call} ${nth}`);
    }
  }
  t.end();
});

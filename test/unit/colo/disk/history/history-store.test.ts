import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { removePairStamp } from '../../../../../src/block/pair-stamp.ts';
import { regionBytes } from '../../../../../src/block/replicated/region-file.ts';
import { HistoryStore } from '../../../../../src/colo/disk/history/history-store.ts';

const generation = 'ab'.repeat(16);

class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'colo-history-'));
  readonly store = new HistoryStore(this.folder, 'web');
  readonly disks = [
    { path: join(this.folder, 'root'), sizeBytes: regionBytes + 512, readOnly: false },
    { path: join(this.folder, 'fixed'), sizeBytes: 4096, readOnly: true },
  ];
  readonly record = join(this.folder, 'disks.json');

  constructor(t: Test) {
    t.teardown(() => {
      this.store.rest();
      rmSync(this.folder, { recursive: true });
    });
    for (const { path } of this.disks) writeFileSync(path, 'content');
  }

  async write(marked = false, suspect?: Uint8Array): Promise<Uint8Array> {
    const log = await this.store.newLog(
      this.disks.map(({ sizeBytes }) => sizeBytes),
      marked,
    );
    await this.store.write(generation, log, this.disks, suspect);
    return log;
  }

  get read(): ReturnType<HistoryStore['read']> {
    return new HistoryStore(this.folder, 'web').read(this.disks);
  }
}

test('what is written is read by whoever comes after', async (t) => {
  const rig = new Rig(t);
  t.equal(rig.read, 'they were in no pair');
  const log = await rig.write();
  t.strictSame(rig.read, { generation, regions: Uint8Array.of(0), log });
  await rig.write(true);
  t.match(rig.read, { regions: Uint8Array.of(0xff) });
  await rig.store.forget();
  t.equal(rig.read, 'they were in no pair');
});

test('where disks may differ besides, which no log of this side marks, counts as marked', async (t) => {
  const rig = new Rig(t);
  await rig.write(false, Uint8Array.of(0b10));
  t.match(rig.read, { regions: Uint8Array.of(0b10) });
  await rig.write();
  t.match(rig.read, { regions: Uint8Array.of(0) });
});

test('whatever does not fit together is no history', async (t) => {
  const doubts: [string, RegExp, (rig: Rig) => unknown][] = [
    [
      'a disk that was used without the pair',
      /root was used for something else/,
      ({ disks }) => removePairStamp((disks[0] as { path: string }).path),
    ],
    [
      'a disk that somebody wrote',
      /root was written by somebody else/,
      ({ disks }) => {
        const later = Date.now() / 1000 + 60;
        utimesSync((disks[0] as { path: string }).path, later, later);
      },
    ],
    [
      'another file of that name',
      /root is another disk/,
      ({ folder, disks }) => {
        const { path } = disks[0] as { path: string };
        copyFileSync(path, join(folder, 'copy'));
        renameSync(join(folder, 'copy'), path);
      },
    ],
    [
      'a log of another time',
      /activity.log is not whole, or another one's/,
      ({ store, disks }) =>
        store.newLog(
          disks.map(({ sizeBytes }) => sizeBytes),
          false,
        ),
    ],
    [
      'a log that is torn',
      /activity.log is not whole/,
      ({ store }) => {
        const file = readFileSync(store.logPath);
        file[40] = 0xff ^ (file[40] as number);
        writeFileSync(store.logPath, file);
      },
    ],
    [
      'a record that is torn',
      /disks.json is not whole/,
      ({ record }) => writeFileSync(record, readFileSync(record).subarray(0, 90)),
    ],
    ['a record of another pair', /disks.json is of the pair db/, ({ folder, disks }) => writeOther(folder, disks)],
  ];
  for (const [what, why, spoil] of doubts) {
    const rig = new Rig(t);
    await rig.write();
    await spoil(rig);
    t.match(rig.read, why, what);
  }
});

async function writeOther(folder: string, disks: Rig['disks']): Promise<void> {
  const other = new HistoryStore(folder, 'db');
  await other.write(generation, await other.newLog([512], false), disks);
}

test('while it is watched, a disk may be written', async (t) => {
  const rig = new Rig(t);
  await rig.write();
  const past = Date.now() / 1000 - 3600;
  utimesSync(rig.record, past, past);
  t.match(rig.read, /written by somebody else/);
  rig.store.watch();
  t.match(rig.read, { generation });
});

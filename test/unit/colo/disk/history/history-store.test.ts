import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { givenUpStamp, removePairStamp } from '../../../../../src/block/pair-stamp.ts';
import { logIdBytes, regionBytes } from '../../../../../src/block/replicated/region-file.ts';
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
    const log = await this.begin(marked);
    await this.store.write(generation, log, this.disks, suspect);
    return log;
  }

  /** A log of which no record says anything. */
  async begin(marked = false): Promise<Uint8Array> {
    const log = new Uint8Array(randomBytes(logIdBytes));
    await this.store.stamp(this.disks, log);
    await this.newLog(log, marked);
    return log;
  }

  newLog(log: Uint8Array, marked: boolean): Promise<void> {
    return this.store.newLog(
      log,
      this.disks.map(({ sizeBytes }) => sizeBytes),
      marked,
    );
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

test('a log that was given up is believed no more, whatever its files say', async (t) => {
  const rig = new Rig(t);
  const log = await rig.write();
  const stamp = `${rig.disks[0]?.path}.pair`;
  const { size } = statSync(stamp);
  const content = givenUpStamp(size);
  t.equal(content.length, size, 'it takes no room');
  writeFileSync(stamp, content);
  t.match(rig.read, /what changed on .*root could not be written down/);
  await rig.store.write(generation, log, rig.disks);
  t.type(rig.read, 'string', 'nor is it when its record is written once more');
  await rig.write();
  t.match(rig.read, { generation });
});

test("what was known is believed no more once the disks are another log's, though nothing else can be written", async (t) => {
  const rig = new Rig(t);
  await rig.write();
  await rig.store.stamp(rig.disks, new Uint8Array(logIdBytes).fill(1));
  t.match(rig.read, /root was used for something else/);
  await rig.write();
  await rig.store.unstamp(rig.disks);
  t.match(rig.read, /root was used for something else/);
  await rig.store.unstamp(rig.disks);
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
      (rig) => rig.newLog(new Uint8Array(logIdBytes), false),
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
  await other.write(generation, new Uint8Array(logIdBytes), disks);
}

test('while it is watched, a disk may be written', async (t) => {
  const rig = new Rig(t);
  await rig.write();
  const past = Date.now() / 1000 - 3600;
  utimesSync(rig.record, past, past);
  t.match(rig.read, /written by somebody else/);
  rig.store.watch();
  await rig.store.settled();
  t.match(rig.read, { generation });
});

/** A store whose file system takes its time, and what it has been told of the record. */
function slowStore(t: Test, folder: string) {
  const said: number[] = [];
  const hanging: (() => void)[] = [];
  const store = new HistoryStore(folder, 'web', async (_path, _accessed, modified) => {
    await new Promise<void>((resolve) => hanging.push(resolve));
    said.push(modified as number);
  });
  t.teardown(() => store.rest());
  return { store, said, hanging };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('that the disks are watched is said without waiting for it, once at a time, and what is said last comes last', async (t) => {
  const { store, said, hanging } = slowStore(t, new Rig(t).folder);
  store.watch();
  await turn();
  await new Promise((resolve) => setTimeout(resolve, 5));
  for (let count = 0; count < 3; count++) {
    store.rest();
    store.watch();
  }
  await new Promise((resolve) => setTimeout(resolve, 5));
  const from = Date.now() / 1000;
  store.rest();
  await turn();
  t.equal(hanging.length, 1, 'a file system that hangs has one call, however long it takes');
  let isSettled = false;
  void store.settled().then(() => {
    isSettled = true;
  });
  hanging[0]?.();
  await turn();
  t.notOk(isSettled);
  hanging[1]?.();
  await store.settled();
  t.equal(said.length, 2);
  t.ok((said[0] as number) < from && (said[1] as number) >= from, 'the last one is what whoever comes after reads');
});

test('what is forgotten is not said to be watched any more', async (t) => {
  const rig = new Rig(t);
  await rig.write();
  const { store, said, hanging } = slowStore(t, rig.folder);
  store.watch();
  await turn();
  store.rest();
  const forgotten = store.forget();
  hanging[0]?.();
  await forgotten;
  await store.settled();
  t.equal(said.length, 1);
  t.equal(rig.read, 'they were in no pair');
});

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { regionBytes } from '../../../../../src/block/replicated/region-file.ts';
import { ActivityControl } from '../../../../../src/block/replicated/shared-changes.ts';
import { type HistoryDisk, HistoryStore } from '../../../../../src/colo/disk/history/history-store.ts';
import { type InheritedChanges, PrimaryChanges } from '../../../../../src/colo/disk/history/primary-changes.ts';
import { EIO, ETIMEDOUT } from '../../../../../src/host/errno.ts';

/** A state directory that takes what it is given, or does not, or hangs. */
class UnsureStore extends HistoryStore {
  state: 'well' | 'full' | 'hangs' = 'well';
  readonly asked: string[] = [];

  override newLog(...given: Parameters<HistoryStore['newLog']>): Promise<void> {
    return this.#ask('newLog', () => super.newLog(...given));
  }

  override write(...given: Parameters<HistoryStore['write']>): Promise<void> {
    return this.#ask('write', () => super.write(...given));
  }

  override forget(): Promise<void> {
    return this.#ask('forget', () => super.forget());
  }

  #ask(what: string, act: () => Promise<void>): Promise<void> {
    this.asked.push(what);
    if (this.state === 'hangs') return new Promise(() => {});
    if (this.state === 'full') return Promise.reject(new Error('ENOSPC: no space left on device'));
    return act();
  }
}

class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), 'colo-changes-'));
  readonly store = new UnsureStore(this.folder, 'web');
  readonly disks: HistoryDisk[] = [{ path: join(this.folder, 'root'), sizeBytes: 2 * regionBytes, readOnly: false }];

  constructor(t: Test) {
    t.teardown(async () => {
      this.store.rest();
      await this.store.settled();
      rmSync(this.folder, { recursive: true });
    });
    writeFileSync(join(this.folder, 'root'), '');
  }

  /** What somebody who comes after the process believes. */
  get known(): ReturnType<HistoryStore['read']> {
    return new HistoryStore(this.folder, 'web').read(this.disks);
  }
}

/** As the io thread has done. */
function giveUp({ shared }: PrimaryChanges, errno = EIO): void {
  new ActivityControl(shared.control).lost = errno;
  // As its stamps are then.
  for (const path of shared.stamps) writeFileSync(path, '{"log":"given up"}');
}

test('a pairing writes down what the disks are from then on', async (t) => {
  const rig = new Rig(t);
  const changes = await PrimaryChanges.begin(rig.store, rig.disks);
  t.type(rig.known, 'string', 'nothing is known before');
  const generation = await changes.renew();
  t.ok(changes.isKept);
  t.match(rig.known, { generation, regions: Uint8Array.of(0xff), log: changes.shared.id });
  t.strictSame(changes.shared.stamps, [`${join(rig.folder, 'root')}.pair`]);
});

for (const state of ['full', 'hangs'] as const) {
  test(`a state directory that ${state === 'full' ? 'is full' : 'hangs'} keeps no guest from being protected, and nothing of before is believed`, async (t) => {
    const rig = new Rig(t);
    const before = await PrimaryChanges.begin(rig.store, rig.disks);
    await before.renew();
    const record = readFileSync(join(rig.folder, 'disks.json'));
    rig.store.rest();
    rig.store.state = state;
    const changes = await PrimaryChanges.begin(rig.store, rig.disks);
    t.match(changes.lost, state === 'full' ? 'ENOSPC: no space left on device' : 'nothing is written in time there');
    t.strictSame(readFileSync(join(rig.folder, 'disks.json')), record, 'what was known is there still');
    t.match(rig.known, /was used for something else/);
    const asked = rig.store.asked.length;
    await changes.renew();
    t.ok(changes.isKept, 'the standby may hear of it');
    await changes.settled();
    t.equal(rig.store.asked.length, asked, 'nothing is written that nobody could rely on');
    await changes.keepAgain();
    t.ok(changes.lost !== undefined);
    rig.store.state = 'well';
    await changes.keepAgain();
    t.equal(changes.lost, undefined);
    const generation = await changes.renew();
    t.match(rig.known, { generation, regions: Uint8Array.of(0xff), log: changes.shared.id });
  });
}

test('a record that cannot be written has the log given up before the standby hears of a generation', async (t) => {
  const rig = new Rig(t);
  const changes = await PrimaryChanges.begin(rig.store, rig.disks);
  rig.store.state = 'full';
  await changes.renew();
  const control = new ActivityControl(changes.shared.control);
  t.equal(control.wishesToGiveUp, 1);
  t.strictSame([changes.isKept, changes.lost], [false, undefined]);
  giveUp(changes);
  t.ok(changes.isKept);
  t.equal(changes.lost, 'ENOSPC: no space left on device');
});

test('if it can neither be written nor given up, the pairing fails', async (t) => {
  const rig = new Rig(t);
  const changes = await PrimaryChanges.begin(rig.store, rig.disks);
  rig.store.state = 'full';
  await changes.renew();
  new ActivityControl(changes.shared.control).keptAgainst = EIO;
  t.throws(() => changes.isKept, {
    message: 'ENOSPC: no space left on device; nor can it be said beside the disks: EIO',
  });
  rig.store.state = 'well';
  await changes.renew();
  t.ok(changes.isKept, 'once there is room again, it goes on');
});

test('a log that was given up begins anew with the next pairing; which blocks changed meanwhile is known', async (t) => {
  const rig = new Rig(t);
  const changes = await PrimaryChanges.begin(rig.store, rig.disks);
  await changes.renew();
  const { shared } = changes;
  giveUp(changes, ETIMEDOUT);
  t.match(rig.known, /could not be written down/);
  t.equal(changes.look(), 'nothing is written in time there');
  await rig.store.settled();
  t.equal(rig.known, 'they were in no pair', 'and it is tidied up');
  const blocks = new Int32Array(shared.blocks);
  blocks[0] = 0b100;
  await changes.keepAgain();
  t.equal(changes.look(), undefined);
  t.not(Buffer.compare(changes.shared.id, shared.id), 0);
  changes.difference.begin();
  for (const place of [0, 16]) changes.difference.settle(0, place * 65536, regionBytes);
  changes.forwarded();
  t.equal(changes.difference.unsettledIn(0, 0), 0b100);
  const generation = await changes.renew();
  t.match(rig.known, { generation, regions: Uint8Array.of(0xff), log: changes.shared.id });
});

test('another primary of the process goes on with all that differs: what was sent, and what the io thread notes meanwhile', async (t) => {
  const rig = new Rig(t);
  const before = await PrimaryChanges.begin(rig.store, rig.disks);
  t.equal(before.inheritance, undefined, 'nothing is known before a pairing');
  const generation = await before.renew();
  before.renewed();
  for (let place = 0; place < 2 * regionBytes; place += regionBytes) before.difference.settle(0, place, regionBytes);
  before.difference.askDurable();
  before.difference.durable();
  await before.settled();
  before.difference.wrote(0, regionBytes, 4096);
  const { inheritance } = before;
  t.match(inheritance, { generation, regions: Uint8Array.of(0b10), shared: { id: before.shared.id } });
  const next = PrimaryChanges.inherited(rig.store, rig.disks, inheritance as InheritedChanges);
  new Int32Array(before.shared.blocks)[0] = 0b100;
  next.beginPairing();
  next.forwarded();
  const regions = Uint8Array.of(0);
  t.strictSame(next.meet({ generation, regions }), { kind: 'known', regions });
  t.equal(next.difference.unsettledIn(0, 0), 0b100);
  t.equal(next.difference.unsettledBytes, regionBytes + 4096);
});

test('a log that is not kept any more is not handed on, nor is one whose record cannot be written', async (t) => {
  const lost = await PrimaryChanges.begin(new Rig(t).store, []);
  await lost.renew();
  t.not(lost.inheritance, undefined);
  new ActivityControl(lost.shared.control).lost = EIO;
  t.equal(lost.inheritance, undefined);
  const rig = new Rig(t);
  const full = await PrimaryChanges.begin(rig.store, rig.disks);
  rig.store.state = 'full';
  await full.renew();
  t.equal(full.inheritance, undefined);
});

test('where nothing can be written beside the disks, no pairing begins', async (t) => {
  const rig = new Rig(t);
  rig.disks[0] = { path: join(rig.folder, 'none', 'root'), sizeBytes: regionBytes, readOnly: false };
  await t.rejects(PrimaryChanges.begin(rig.store, rig.disks), { message: /nothing can be written beside the disks/ });
});

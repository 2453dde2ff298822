import { test } from 'tap';
import { Owner } from '../../../src/host/ownership.ts';
import { gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { CheckpointedMemory } from '../../../src/memory/checkpointed-memory.ts';
import { DirtyCollector } from '../../../src/memory/dirty-collector.ts';
import { DirtyingGuest, firstFreePage } from '../../../tools/bench/dirtying-guest.ts';
import { noKvm } from '../../support/kvm.ts';
import { randomNumbers } from '../../support/random.ts';

const skip = noKvm();
const ramBytes = 16 * MiB;
const pagesOfRam = ramBytes / pageSize;

/** A guest on checkpointed memory whose checkpoint is full of what `random` says. */
function rig(t: { teardown(clean: () => void): void }, random: (limit: number) => number, mostCopies?: number) {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const memory = owner.own(new CheckpointedMemory(ramBytes, mostCopies));
  const guest = owner.own(new DirtyingGuest(memory));
  /** What every page should be after a roll-back. */
  const checkpoint = new Uint8Array(ramBytes);
  checkpoint.set(memory.memory.slice(gpa(0), firstFreePage * pageSize));
  const words = new Uint32Array(checkpoint.buffer, firstFreePage * pageSize);
  for (let word = 0; word < words.length; word += 7) words[word] = random(2 ** 32);
  memory.write(0, checkpoint);
  const tracker = owner.own(new DirtyCollector(guest.vm, memory).track());
  const commit = (page: number, bytes: Uint8Array): void => {
    memory.write(page, bytes);
    checkpoint.set(bytes, page * pageSize);
  };
  const isCheckpoint = (): boolean => Buffer.from(memory.memory.slice(gpa(0), ramBytes)).equals(checkpoint);
  return { memory, guest, tracker, checkpoint, commit, isCheckpoint };
}

for (const mostCopies of [0, 40, undefined]) {
  const how = `up to ${mostCopies ?? 'the usual number of'} copies left`;

  test(`every byte is the checkpoint's again, round after round (${how})`, { skip }, async (t) => {
    const random = randomNumbers(7);
    const { memory, guest, tracker, checkpoint, commit, isCheckpoint } = rig(t, random, mostCopies);
    memory.rollBack(tracker.collect());
    t.ok(isCheckpoint(), 'before the guest has run');
    for (let round = 0; round < 40; round++) {
      const step = 1 + random(9);
      const count = 1 + random(100);
      const first = firstFreePage + random(pagesOfRam - firstFreePage - step * count);
      guest.dirty(first, count, step);
      const device = firstFreePage + random(pagesOfRam - firstFreePage - 2);
      memory.memory.write(gpa(device * pageSize + 4000), new Uint8Array(200).fill(round));
      const seen = new DataView(memory.memory.slice(gpa(first * pageSize), 4).slice().buffer).getUint32(0, true);
      const was = new DataView(checkpoint.buffer).getUint32(first * pageSize, true);
      const byDevice = device <= first && first <= device + 1;
      if (!byDevice && seen !== (was + 1) >>> 0) t.fail(`round ${round}: the guest did not start from the checkpoint`);

      // The peer changed one of the pages that the guest wrote, one that nobody wrote here, and made some zero.
      const peers = (): Uint8Array => new Uint8Array(pageSize * (1 + random(3))).fill(1 + random(255));
      const changes = (): void => {
        commit(first, peers());
        commit(firstFreePage + random(pagesOfRam - firstFreePage - 4), peers());
        const zeros = firstFreePage + random(pagesOfRam - firstFreePage - 8);
        memory.zero(zeros, 8);
        checkpoint.fill(0, zeros * pageSize, (zeros + 8) * pageSize);
      };
      if (round % 2 === 0) changes();
      memory.rollBack(tracker.collect());
      if (round % 2 === 1) changes();
      if (!isCheckpoint()) t.fail(`round ${round}: bytes differ from the checkpoint`);
    }
    t.ok(isCheckpoint());
    guest.dirty(firstFreePage, 1, 1);
    t.notOk(isCheckpoint(), 'and a page that is not rolled back differs');
  });
}

test('the guest sees what a checkpoint brought, through copies and without', { skip }, async (t) => {
  const { memory, guest, tracker, commit } = rig(t, randomNumbers(3));
  const [copied, untouched] = [firstFreePage, firstFreePage + 50];
  guest.dirty(copied, 1, 1);
  for (const value of [10, 20, 30]) {
    const page = new Uint8Array(pageSize);
    page[0] = value;
    commit(copied, page);
    commit(untouched, page);
    memory.rollBack(tracker.collect());
    guest.dirty(copied, 2, 50);
    t.equal(memory.memory.readU32(gpa(copied * pageSize)), value + 1);
    t.equal(memory.memory.readU32(gpa(untouched * pageSize)), value + 1);
  }
});

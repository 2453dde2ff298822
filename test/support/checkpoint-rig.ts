import type { Test } from 'tap';
import { CheckpointSource } from '../../src/colo/machine/checkpoint-source.ts';
import { GuestFirst, guestTime } from '../../src/colo/memory/guest-first.ts';
import { PageReceiver } from '../../src/colo/memory/page-receiver.ts';
import { PageSender } from '../../src/colo/memory/page-sender.ts';
import { FrameReader } from '../../src/colo/protocol/frame-reader.ts';
import { encodeFrame } from '../../src/colo/protocol/message-codec.ts';
import type { Pages, PagesEnd, VmState } from '../../src/colo/protocol/messages.ts';
import { term } from '../../src/colo/protocol/numbers.ts';
import { pageSize } from '../../src/memory/address.ts';
import { DirtyBitmap } from '../../src/memory/dirty-bitmap.ts';
import type { DirtyTracker } from '../../src/memory/dirty-collector.ts';
import { Ram } from '../../src/memory/ram.ts';
import { CheckpointArea } from '../../src/vmm/checkpoint/checkpoint.ts';
import { EpochSeed, OpenEpoch } from '../../src/vmm/platform/shared-protection.ts';
import { StateImage } from '../../src/vmm/vmstate/state-image.ts';
import { emptyMachineState } from './snapshot-machine.ts';

export type PageItem = Pages | PagesEnd | VmState;

/** Brings messages from one side to the other as frames. */
export function throughFrames(take: (item: PageItem) => void): (message: PageItem) => void {
  const reader = new FrameReader('pages', 'primary', ({ message }) => take(message as PageItem));
  return (message) => {
    const bytes = encodeFrame({ role: 'primary', term: term(1), message });
    reader.push(bytes);
    // What is held on to shows: a receiver copies.
    bytes.fill(0xee);
  };
}

/** P without a guest: whoever writes its RAM is the guest. And S, with a link between them. */
export function checkpointRig(t: Test, sizeBytes: number) {
  const ram = new Ram(sizeBytes);
  t.teardown(() => ram.close());
  const { memory } = ram;
  const image = new StateImage({ cpus: 1, msrRows: 1, cpuidRows: 1, xsaveBytes: 4096 });
  image.memoryBytes = sizeBytes;
  const { serial } = emptyMachineState(sizeBytes);
  const tracker: DirtyTracker = {
    emptyBitmaps: () => memory.regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize)),
    collect: (dirty = tracker.emptyBitmaps()) => {
      for (const [index, region] of memory.regions.entries()) region.written.drainInto(dirty[index] as DirtyBitmap);
      return dirty;
    },
    collectOften: (dirty) => {
      tracker.collect(dirty);
    },
    close: () => {
      memory.tracking = false;
    },
  };
  const machine = {
    ram,
    state: 'running',
    replication: { translation: undefined },
    pauseTimes: { ms: () => 0.25 },
    checkpointArea: (expected: number) => {
      memory.tracking = true;
      return new CheckpointArea(memory, tracker, expected);
    },
    capture: (area: CheckpointArea, closeEpoch: () => void) => {
      if (machine.state === 'ended') throw new Error('ended');
      area.clear();
      area.collect();
      area.copy();
      closeEpoch();
      return { pages: area.staging, image, own: { serial, pciAddress: 7 }, devices: [] };
    },
  };
  const epoch = new OpenEpoch();
  const seed = new EpochSeed();
  const source = new CheckpointSource(machine, epoch, seed);
  const target = new Ram(sizeBytes);
  t.teardown(() => target.close());
  const receiver = new PageReceiver(target.shared);
  t.teardown(() => receiver.close());
  const sent: PageItem[] = [];
  let take = (item: PageItem): void => receiver.stage(item);
  const link = throughFrames((item) => take(item));
  const sender = new PageSender({
    shared: source.shared,
    collect: async () => source.collect(),
    owes: () => {},
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: (message) => {
      sent.push({ ...message, ...('data' in message ? { data: Uint8Array.from(message.data) } : {}) } as PageItem);
      link(message);
      return true;
    },
  });
  return {
    ram,
    target,
    machine,
    epoch,
    seed,
    source,
    sender,
    receiver,
    sent,
    /** Has `instead` get what the other side would. */
    divert: (instead: (item: PageItem) => void) => {
      take = instead;
    },
  };
}

import type { Test } from 'tap';
import { newSharedDisks } from '../../src/colo/disk/shared-disks.ts';
import { CheckpointSource } from '../../src/colo/machine/checkpoint-source.ts';
import { decodeState } from '../../src/colo/machine/checkpoint-state.ts';
import { KeptBoot } from '../../src/colo/machine/kept-boot.ts';
import { shapeOfMachine } from '../../src/colo/machine/machine-shapes.ts';
import type { Replica } from '../../src/colo/machine/replica.ts';
import { StandbyMachine } from '../../src/colo/machine/standby-machine.ts';
import { bootMessages } from '../../src/colo/memory/boot-messages.ts';
import { BootReceiver } from '../../src/colo/memory/boot-receiver.ts';
import { GuestFirst, guestTime } from '../../src/colo/memory/guest-first.ts';
import { PageReceiver } from '../../src/colo/memory/page-receiver.ts';
import { PageSender } from '../../src/colo/memory/page-sender.ts';
import { epoch } from '../../src/colo/protocol/numbers.ts';
import { Doorbell } from '../../src/host/threads/doorbell.ts';
import type { Machine } from '../../src/vmm/machine/machine.ts';
import { newSharedPackets } from '../../src/vmm/platform/packet-rings.ts';
import { EpochSeed } from '../../src/vmm/platform/shared-protection.ts';
import { ramHash, WatchedEpoch } from './checkpoint-equality.ts';
import { throughFrames } from './checkpoint-rig.ts';
import { bootMachine, type MachineOptions, vcpuProgram } from './machines.ts';
import { temporaryFolder } from './vmm-process.ts';

/** A guest and a standby in this process, without cores or a link between them. */
export interface ReplicatedGuest {
  readonly primary: Machine;
  readonly standby: StandbyMachine;
  /** As the cores order it: S's guest stands still, and runs from there if the pair compares. */
  checkpoint(n: number, passedMs?: number): Promise<void>;
  /** The state of the checkpoint that RAM has. */
  stateOf(n: number): Uint8Array;
}

/** One whose standby's guest may run beside it. */
export function replicatedGuest(t: Test, code: Uint8Array, options: MachineOptions = {}) {
  const bell = new Doorbell();
  t.teardown(() => bell.close());
  const pair = guestAndStandby(t, bootMachine(t, code, options), bell);
  return { ...pair, replica: pair.standby.replica as Replica };
}

/** One that is buffered. */
export function bufferedGuest(t: Test, code: Uint8Array, options: MachineOptions = {}): ReplicatedGuest {
  return guestAndStandby(t, bootMachine(t, code, options), undefined);
}

/** What the standby's guest begins anew from, once it speaks for itself: all that the primary's does. */
export async function sendBoot(t: Test, primary: Machine, standby: StandbyMachine): Promise<void> {
  const receiver = new BootReceiver({
    keep: async (sizes) => {
      const kept = new KeptBoot(temporaryFolder(t), sizes);
      standby.boot = kept;
      return kept.descriptors;
    },
    pause: () => {},
    moved: () => {},
    failed: (error) => t.fail(error.message),
  });
  const descriptors = primary.bootSource?.descriptors;
  if (descriptors === undefined) throw new Error('the primary has nothing to begin from');
  for await (const message of bootMessages(descriptors)) receiver.take(message);
  await receiver.whole();
}

function guestAndStandby(t: Test, primary: Machine, bell: Doorbell | undefined): ReplicatedGuest {
  const devices = { disk: [], net: [] };
  const standby = new StandbyMachine(shapeOfMachine(primary), devices, vcpuProgram, () => {}, bell?.button);
  t.teardown(() => standby.discard());
  const { replica } = standby;
  const open = new WatchedEpoch(primary.ram.memory);
  const seed = new EpochSeed();
  if (bell !== undefined) {
    const [packets, disks] = [newSharedPackets(), newSharedDisks(2 ** 20)];
    primary.replication.protect({ epoch: open.storage, seed: seed.storage, bell: bell.button, packets, disks });
  }
  const source = new CheckpointSource(primary, open, seed);
  t.teardown(() => source.detach());
  const receiver = new PageReceiver(standby.shared.ram, decodeState, replica?.changed);
  t.teardown(() => receiver.close());
  const link = throughFrames((item) => receiver.stage(item));
  const sender = new PageSender({
    shared: source.shared,
    collect: async () => source.collect(),
    owes: () => {},
    guestFirst: new GuestFirst(guestTime(() => 0)),
    send: (message) => {
      link(message);
      return true;
    },
  });
  const checkpoint = async (n: number, passedMs = 0): Promise<void> => {
    if (n === 0) await sender.livePass(epoch(n));
    replica?.park();
    await sender.transmit(epoch(n), source.capture(epoch(n)));
    t.ok(await receiver.load(epoch(n)));
    replica?.rollBack();
    t.equal(ramHash(standby.machine.ram.memory), open.ramAtStop.get(n), `RAM at checkpoint ${n}`);
    const state = receiver.stateOf(epoch(n));
    if (replica === undefined) standby.rehearse(state);
    else standby.start(state, epoch(n + 1), passedMs);
  };
  return { primary, standby, checkpoint, stateOf: (n) => receiver.stateOf(epoch(n)) };
}

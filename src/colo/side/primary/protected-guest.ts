import { randomInt } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { EngineChooser } from '../../../block/disk-engines.ts';
import type { Fd } from '../../../host/libc/descriptors.ts';
import { RunDelay } from '../../../host/system/run-delay.ts';
import type { BootDescriptors } from '../../../vmm/machine/machine-shape.ts';
import { IoControl } from '../../../vmm/platform/io-control.ts';
import { newSharedPackets } from '../../../vmm/platform/packet-rings.ts';
import { EpochSeed, OpenEpoch, type SharedProtection } from '../../../vmm/platform/shared-protection.ts';
import { VcpuControl } from '../../../vmm/vcpu/vcpu-control.ts';
import type { Divergence } from '../../compare/divergence.ts';
import { type PortPolicy, policyOfPorts } from '../../compare/flow-policy.ts';
import type { DiskWindow } from '../../core/epochs/disk-window.ts';
import type { PrimaryEvent } from '../../core/events.ts';
import { specification } from '../../core/rules.ts';
import type { Settings } from '../../core/settings.ts';
import { diskViews } from '../../disk/disk-view.ts';
import type { Suspicion } from '../../disk/history/history.ts';
import type { PrimaryChanges } from '../../disk/history/primary-changes.ts';
import { PrimaryDisks } from '../../disk/primary-disks.ts';
import { newSharedDisks } from '../../disk/shared-disks.ts';
import { PrimaryPackets } from '../../gate/primary-packets.ts';
import { tapsOf } from '../../gate/tap-writer.ts';
import { GuestFirst, guestTime } from '../../memory/guest-first.ts';
import { PageSender } from '../../memory/page-sender.ts';
import type { Message } from '../../protocol/messages.ts';
import type { PacketRecord } from '../../record/packet-record.ts';
import { type Calls, CallsClosedError } from '../calls.ts';
import type { ColoCalls, PrimaryMachineCalls, PrimaryViews } from '../machine-calls.ts';
import { IoThreadSigns, type SignsOfLife, VcpuSigns } from '../signs-of-life.ts';

/** What a pairing's guest is served with. */
export interface ProtectedGuestParts {
  readonly calls: Calls<PrimaryMachineCalls, ColoCalls>;
  /** Button of the doorbell that is rung when a ring has something. */
  readonly bell: Fd;
  readonly signs: SignsOfLife;
  readonly settings: Settings;
  readonly flows: readonly PortPolicy[];
  readonly engines: EngineChooser | undefined;
  readonly rings: typeof newRings;
  readonly record: PacketRecord | undefined;
  /** What the guest begins anew from. */
  readonly boot: BootDescriptors | undefined;
  /** Where a standby's disks may differ from the guest's. */
  readonly changes: PrimaryChanges;
  readonly window: DiskWindow;
  readonly now: () => number;
  readonly post: (event: PrimaryEvent) => void;
  /** False: wait until its stream has drained. What is left of a pairing that is over goes nowhere. */
  readonly send: (message: Message) => boolean;
  /** Hands what was sent on the stream of packets to the kernel. */
  readonly flushPackets: () => void;
  /** The disks are looked through. */
  readonly found: (suspicion: Suspicion, bytes: number) => void;
  readonly diverged: (divergence: Divergence) => void;
  /** The machine cannot let go of its protection now, and why; said once. */
  readonly notLetGo: (error: Error) => void;
  /** So long after that it is tried again. */
  readonly letGoAgainMs: number;
}

/** What serves a guest while it is protected, or about to be: packets, disks and pages on their way to the standby. One pairing. */
export class ProtectedGuest {
  readonly packets: PrimaryPackets;
  readonly disks: PrimaryDisks;
  readonly pages: PageSender;
  /** Without any there is no io thread that would answer. */
  readonly hasDevices: boolean;
  readonly #parts: ProtectedGuestParts;
  /** Of the guest's vCPUs and the io thread. */
  readonly #runDelay: RunDelay;
  readonly #guestFirst: GuestFirst;
  /** Those whose threads are watched. */
  readonly #vcpus: number;

  /** The machine forwards and mirrors from now on. */
  static async attach(parts: ProtectedGuestParts): Promise<ProtectedGuest> {
    const { calls, changes, bell, rings, settings } = parts;
    changes.beginPairing();
    const shared: SharedProtection = {
      changes: changes.shared,
      epoch: new OpenEpoch().storage,
      seed: new EpochSeed().storage,
      bell,
      ...rings(settings.diskLogBytes),
    };
    const views = await calls.call('attach', shared);
    changes.forwarded();
    const io = views.io && new IoThreadSigns(views.io);
    const packets = packetsOf(parts, shared, views, io);
    const runDelay = new RunDelay([
      ...views.vcpus.map(({ control }) => new VcpuControl(control).tid),
      ...(views.io === undefined ? [] : [new IoControl(views.io.control).tid]),
    ]);
    try {
      return new ProtectedGuest(parts, shared, views, io, packets, runDelay);
    } catch (error) {
      // What the guest says would wait for somebody who never comes.
      await packets.detach();
      await calls.call('detach', undefined);
      // What it wrote meanwhile was forwarded to nobody.
      changes.difference.addAll();
      packets.close();
      runDelay.close();
      throw error;
    }
  }

  private constructor(
    parts: ProtectedGuestParts,
    shared: SharedProtection,
    views: PrimaryViews,
    io: IoThreadSigns | undefined,
    packets: PrimaryPackets,
    runDelay: RunDelay,
  ) {
    const { calls, send, post, signs, engines } = parts;
    this.#parts = parts;
    this.packets = packets;
    this.#runDelay = runDelay;
    const guestFirst = new GuestFirst(guestTime(() => runDelay.ms));
    this.#guestFirst = guestFirst;
    this.disks = new PrimaryDisks({
      guestFirst,
      send,
      post,
      now: parts.now,
      wakeIo: () => io?.nudge(),
      shared: shared.disks,
      disks: diskViews(views.devices),
      window: parts.window,
      settings: parts.settings,
      changes: parts.changes,
      found: parts.found,
      ...(engines === undefined ? {} : { engines }),
    });
    this.pages = new PageSender({
      shared: views.memory,
      guestFirst,
      ...(parts.boot === undefined ? {} : { boot: { descriptors: parts.boot, send } }),
      send,
      collect: () => calls.call('collect', undefined),
      owes: (owed) => post({ kind: 'copy-waits', owed }),
    });
    this.hasDevices = io !== undefined;
    if (io !== undefined) signs.watch('io', io);
    for (const vcpu of views.vcpus) signs.watch(`vcpu-${vcpu.handle.index}`, new VcpuSigns(vcpu));
    this.#vcpus = views.vcpus.length;
  }

  /** The doorbell rang: the io thread has something for the rings' readers. */
  rang(): void {
    this.#guestFirst.guestCame();
    this.packets.work();
    this.disks.work();
    this.#guestFirst.guestServed();
  }

  /** What may leave leaves; the machine forwards and mirrors no more. Not over before that is so. */
  async detach(): Promise<void> {
    const { signs } = this.#parts;
    await this.packets.detach();
    await this.#letGo();
    this.disks.close();
    this.packets.close();
    this.#runDelay.close();
    signs.forget('io');
    for (let index = 0; index < this.#vcpus; index++) signs.forget(`vcpu-${index}`);
  }

  /**
   * A guest that waits for its disk in a read cannot be stopped, and so not be let go of: it is tried again, for until then what it writes
   * goes to a ring that nobody empties.
   */
  async #letGo(): Promise<void> {
    const { calls, notLetGo, letGoAgainMs } = this.#parts;
    for (let tries = 0; ; tries++) {
      try {
        await calls.call('detach', undefined);
        return;
      } catch (error) {
        if (error instanceof CallsClosedError) throw error;
        if (tries === 0) notLetGo(error as Error);
        await setTimeout(letGoAgainMs, undefined, { ref: false });
      }
    }
  }
}

function packetsOf(
  { send, flushPackets, post, now, record, settings, flows, diverged }: ProtectedGuestParts,
  shared: SharedProtection,
  views: PrimaryViews,
  io: IoThreadSigns | undefined,
): PrimaryPackets {
  return new PrimaryPackets({
    rules: specification,
    send,
    flush: flushPackets,
    post,
    now,
    wakeIo: () => io?.nudge(),
    shared: shared.packets,
    record,
    taps: tapsOf(views.devices),
    ...(settings.compares ? { comparing: { policyOf: policyOfPorts(flows), seed: randomInt(2 ** 32), diverged } } : {}),
  });
}

/** Between the io thread and the colo thread, for one protection. */
export function newRings(diskLogBytes: number): Pick<SharedProtection, 'packets' | 'disks'> {
  return { packets: newSharedPackets(), disks: newSharedDisks(diskLogBytes) };
}

import { DiskError } from '../../block/disk-error.ts';
import type { SharedChanges } from '../../block/replicated/shared-changes.ts';
import type { DeviceOrder } from '../io/device-orders.ts';
import type { SharedIoControl } from '../platform/io-control.ts';
import type { ReplayedPackets } from '../platform/replayed-packets.ts';
import type { SharedProtection, SharedReplica } from '../platform/shared-protection.ts';
import type { SharedVcpu } from '../vcpu/vcpu-control.ts';
import type { Announcement } from './announcement.ts';
import type { EndKeeper } from './end-keeper.ts';
import type { MachineParts } from './machine-parts.ts';
import type { RunControl } from './run-control.ts';
import { RunStateError } from './run-state.ts';

/**
 * What fault tolerance has of a machine's devices: what its guest writes and says is mirrored, or kept from the world, and goes out
 * with other numbers. Stopping it and its checkpoints are the machine's own.
 */
export class Replication {
  readonly #parts: MachineParts;
  readonly #control: RunControl;
  readonly #endKeeper: EndKeeper;
  readonly #announcement: Announcement;
  /** Packets are translated, as far as is known here: the io thread ends it. */
  #isTranslated = false;

  constructor(parts: MachineParts, control: RunControl, endKeeper: EndKeeper, announcement: Announcement) {
    this.#parts = parts;
    this.#control = control;
    this.#endKeeper = endKeeper;
    this.#announcement = announcement;
  }

  /**
   * Has its packets mirrored and changes of its disks forwarded from now on, tagged with the open epoch. What protected it
   * before does not any more.
   *
   * Nothing announces it any more, which passes no gate: frozen for a while, a machine would tell the network that the guest is here when
   * another one has it (spec B.6).
   *
   * @throws RunStateError if it has ended; DiskError if what changes cannot be kept where that says
   */
  protect(shared: SharedProtection): void {
    this.#announcement.stop();
    this.#whileParked(() => this.#parts.io?.protect(shared));
  }

  /** Has it be kept which regions of its disks change. @throws RunStateError if it has ended; DiskError */
  keepChanges(changes: SharedChanges): void {
    this.#whileParked(() => this.#parts.io?.keepChanges(changes));
  }

  /** Undoes {@link protect}. @throws RunStateError if it has ended */
  unprotect(): void {
    this.#whileParked(() => this.#parts.io?.unprotect());
  }

  /**
   * Makes a replica of the machine, which has never run: nothing of what its guest says or writes leaves it, and what it gets comes
   * from a ring.
   *
   * @throws RunStateError if it has ended
   */
  replicate(shared: SharedReplica): void {
    this.#whileParked(() => this.#parts.io?.replicate(shared));
  }

  /**
   * Of a replica that is held: what its guest wrote to disks is forgotten, and that it has ended, if it has. RAM is the caller's.
   */
  rollBack(): void {
    this.#parts.io?.rollBackDisks();
    this.#endKeeper.forget();
    for (const vcpu of this.#parts.vcpus) if (vcpu.held) vcpu.release();
  }

  /**
   * A replica that is held is none any more: it speaks for itself once it runs, and its disks are its own.
   *
   * @param translation what its packets are translated with; undefined: they are not
   * @throws DiskError if a disk does not take what its guest wrote
   */
  emerge(translation: unknown): void {
    const reason = this.#parts.io?.emerge(translation);
    if (reason !== undefined) throw new DiskError(reason);
    this.#isTranslated = translation !== undefined;
  }

  /**
   * Has packets of the guest, which is held, translated from now on.
   *
   * @param translation as plain data, of {@link translation} of the machine that it comes from
   * @throws Error if it is none
   */
  translate(translation: unknown): void {
    const reason = this.#parts.io?.translate(translation);
    if (reason !== undefined) throw new Error(`its connections cannot go on: ${reason}`);
    this.#isTranslated = true;
  }

  /** What packets are translated with, as plain data, of a machine that is stopped; undefined: they are not. */
  get translation(): unknown {
    if (!this.#isTranslated) return undefined;
    const translation = this.#parts.io?.translation;
    this.#isTranslated = translation !== undefined;
    return translation;
  }

  /** Has these packets enter the guest before anything new. @throws RunStateError if it has ended */
  replay(packets: ReplayedPackets): void {
    this.#whileParked(() => this.#parts.io?.replay(packets));
  }

  /** How the vCPUs are reached. */
  get vcpuReach(): readonly SharedVcpu[] {
    return this.#parts.vcpus.map(({ reach }) => reach);
  }

  /** How the io thread is reached; undefined in a machine without devices. */
  get ioReach(): SharedIoControl | undefined {
    const { io, ioReach } = this.#parts;
    return io === undefined ? undefined : ioReach;
  }

  /** Files and TAPs behind its devices, for who serves them beside the io thread. Open until the machine is closed. */
  get deviceOrders(): readonly DeviceOrder[] {
    return this.#parts.devices.orders;
  }

  #whileParked(body: () => void): void {
    if (this.#control.state === 'running') this.#control.whilePaused(body);
    else if (this.#control.state === 'ended') throw new RunStateError('ended', 'colo');
    else body();
  }
}

import type { Fd } from '../../host/libc/descriptors.ts';
import { pageSize } from '../../memory/address.ts';
import { CheckpointedMemory } from '../../memory/checkpointed-memory.ts';
import { DirtyBitmap } from '../../memory/dirty-bitmap.ts';
import type { DirtyTracker } from '../../memory/dirty-collector.ts';
import type { Machine } from '../../vmm/machine/machine.ts';
import { newSharedReplica } from '../../vmm/platform/packet-rings.ts';
import { EpochSeed, OpenEpoch, type SharedReplica } from '../../vmm/platform/shared-protection.ts';
import type { GuestEnd } from '../../vmm/vcpu/guest-end.ts';
import type { Epoch } from '../protocol/numbers.ts';
import type { LiveTranslation } from '../translate/live-translator.ts';

/** No guest runs in that one: the first checkpoint ends it. */
const noEpoch = 0;
/** The console is emptied this often, ms: a guest must not wait for it where P's does not. */
const muteMs = 20;
const sent = new Uint8Array(4096);

/**
 * What S's machine has besides when its guest runs beside P's (comparing), on the main thread: it can be made P's again. Its guest
 * may do anything, end too: the machine is held then, until the next checkpoint.
 */
export class Replica {
  readonly shared: SharedReplica;
  /** Told when its guest has ended, or begun anew, which P's may not have (spec B.13). */
  onEnd: (end: GuestEnd) => void = () => {};
  /** How the guest that runs here has ended, if it has. */
  ended: GuestEnd | undefined;
  readonly #machine: Machine;
  readonly #memory: CheckpointedMemory;
  readonly #tracker: DirtyTracker;
  readonly #dirty: readonly DirtyBitmap[];
  readonly #changed: DirtyBitmap;
  readonly #epoch: OpenEpoch;
  readonly #seed: EpochSeed;
  #heldAt = performance.now();
  #mute: NodeJS.Timeout | undefined;
  #isOver = false;

  /** @param machine held, with {@link CheckpointedMemory} for RAM */
  constructor(machine: Machine, cards: number, bell: Fd) {
    const { ram } = machine;
    if (!(ram instanceof CheckpointedMemory)) throw new Error('RAM that cannot be rolled back');
    this.#machine = machine;
    this.#memory = ram;
    this.#tracker = machine.trackDirtyPages();
    this.#dirty = this.#tracker.emptyBitmaps();
    this.#changed = new DirtyBitmap(ram.memory.sizeBytes / pageSize);
    this.shared = newSharedReplica(cards, bell);
    this.#epoch = new OpenEpoch(this.shared.epoch);
    this.#seed = new EpochSeed(this.shared.seed);
    machine.replication.replicate(this.shared);
    machine.keepEnd((end) => {
      this.ended = end;
      this.onEnd(end);
    });
  }

  /** Marks of pages that were written behind its back, where CheckpointedMemory.checkpoint says. */
  get changed(): SharedArrayBuffer {
    return this.#changed.storage;
  }

  /** A checkpoint with this seed is loaded: from there on the guest draws what P's does. It is held. */
  reseed(seed: Uint8Array): void {
    this.#seed.give(seed);
  }

  /** The guest runs in that epoch, once it runs. It is held. */
  enter(epoch: Epoch): void {
    this.#epoch.number = epoch;
    this.#mute ??= setInterval(() => this.#dropSent(), muteMs).unref();
  }

  /** Stops the guest, if it runs. When that was, on this process's clock in ms. */
  park(): number {
    const { state } = this.#machine;
    if (state === 'running' || state === 'paused') {
      this.#machine.hold();
      this.#heldAt = performance.now();
    }
    clearInterval(this.#mute);
    this.#mute = undefined;
    return this.#heldAt;
  }

  /** What the guest did is undone: RAM is the checkpoint's. What it was fed and has not read is nobody's: its epoch is over. */
  rollBack(): void {
    this.park();
    this.#epoch.number = noEpoch;
    this.#machine.replication.rollBack();
    this.ended = undefined;
    this.#tracker.collect(this.#dirty);
    this.#memory.wrote(this.#changed);
    this.#memory.rollBack(this.#dirty);
    this.#changed.clear();
    for (const bitmap of this.#dirty) bitmap.clear();
  }

  /** The guest speaks for itself from now on. @throws DiskError */
  emerge(translation: LiveTranslation | undefined): void {
    this.#machine.replication.emerge(translation);
    this.#machine.keepEnd(undefined);
    this.close();
  }

  /** Before the machine is closed. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#mute);
    this.#tracker.close();
  }

  /** What its guest prints is as if it had been printed. */
  #dropSent(): void {
    while (this.#machine.serial.takeSent(sent) > 0);
  }
}

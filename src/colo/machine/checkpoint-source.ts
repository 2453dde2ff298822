import { seedBytes } from '../../devices/rng/random-source.ts';
import { fillFromKernel } from '../../host/system/random.ts';
import { pageSize } from '../../memory/address.ts';
import type { GuestRam } from '../../memory/guest-ram.ts';
import type { Checkpoint, CheckpointArea } from '../../vmm/checkpoint/checkpoint.ts';
import type { EpochSeed, OpenEpoch } from '../../vmm/platform/shared-protection.ts';
import { type PausePart, type PauseTimes, pauseParts } from '../../vmm/vmstate/pause-times.ts';
import { type Epoch, next } from '../protocol/numbers.ts';
import type { TranslatorState } from '../translate/translator-state.ts';
import { StateEncoder } from './checkpoint-state.ts';
import type { Captured, Collected, SharedCheckpoints } from './shared-checkpoints.ts';

/** The machine as its checkpoints need it: src/vmm/machine/machine.ts. */
export interface CapturedMachine {
  readonly ram: GuestRam;
  readonly state: string;
  readonly pauseTimes: Pick<PauseTimes, 'ms'>;
  /** Its `translation`: what packets are translated with, while the machine is stopped; undefined: they are not. */
  readonly replication: { readonly translation: unknown };
  checkpointArea(expectedPages: number): CheckpointArea;
  capture(area: CheckpointArea, closeEpoch: () => void): Checkpoint;
}

/** Pages for which memory is ready before the first capture. */
const expectedPages = 2048;
/** A capture that was larger than this part of RAM gives its memory back. */
const keptPart = 1 / 16;

/**
 * P's checkpoints on the main thread, from when a pair is made until it ends: one for each pairing. Everything that it is asked
 * is one synchronous call; what it makes lies in memory shared with the colo thread.
 */
export class CheckpointSource {
  /** For the colo thread. All of RAM is marked to be read once, live. */
  readonly shared: SharedCheckpoints;
  readonly #machine: CapturedMachine;
  readonly #epoch: OpenEpoch;
  readonly #seed: EpochSeed;
  readonly #area: CheckpointArea;
  readonly #keptPages: number;
  readonly #encoder = new StateEncoder();
  readonly #nextSeed = new Uint8Array(seedBytes);

  /**
   * Pages are tracked from here on, while the guest runs on.
   *
   * @param epoch that the guest runs in
   * @param seed that its entropy comes from
   */
  constructor(machine: CapturedMachine, epoch: OpenEpoch, seed: EpochSeed) {
    this.#machine = machine;
    this.#epoch = epoch;
    this.#seed = seed;
    const { memory } = machine.ram;
    this.#keptPages = Math.max(expectedPages, Math.ceil((memory.sizeBytes / pageSize) * keptPart));
    this.#area = machine.checkpointArea(expectedPages);
    this.#area.markAllLive();
    this.shared = {
      ramBytes: memory.sizeBytes,
      live: this.#area.live.map(({ storage }) => storage),
      regions: memory.regions.map(({ offset, sizeBytes }) => ({
        firstPage: offset / pageSize,
        pages: sizeBytes / pageSize,
      })),
      staging: this.#area.staging.shared,
    };
  }

  /** Marks the pages that were written since the last look, while the guest runs. */
  collect(): Collected {
    return { marked: this.#area.collectLive(), ram: this.#machine.ram.shared };
  }

  /**
   * Stops the guest, sets aside what the checkpoint that closes `epoch` needs and has the guest run on in the next one. A
   * machine that its user has paused stays paused, and is captured all the same. No pass reads RAM meanwhile, and nobody what
   * was captured before.
   *
   * @param exitCode of a guest that has ended; its machine is held, as the guest left it
   * @throws RunStateError if the machine has ended, or never ran; the epoch stays open then, as after any other error
   */
  capture(epoch: Epoch, exitCode?: number): Captured {
    if (this.#epoch.number !== epoch) {
      throw new Error(`epoch ${epoch} cannot be closed: the guest runs in epoch ${this.#epoch.number}`);
    }
    const { staging } = this.#area;
    if (staging.count > this.#keptPages) staging.trim(this.#keptPages);
    const runs = this.#machine.state === 'running';
    fillFromKernel(this.#nextSeed);
    let translation: unknown;
    const checkpoint = this.#machine.capture(this.#area, () => {
      translation = this.#machine.replication.translation;
      this.#seed.give(this.#nextSeed);
      this.#epoch.number = next(epoch);
    });
    const state = this.#encoder.encode({
      ...checkpoint,
      seed: this.#nextSeed,
      ...(exitCode === undefined ? {} : { exitCode }),
      // Its io thread translates with what was a state, and says the same of it.
      ...(translation === undefined ? {} : { translation: translation as TranslatorState }),
    });
    this.#nextSeed.fill(0);
    const { pauseTimes } = this.#machine;
    const parts = Object.fromEntries(pauseParts.map((part) => [part, pauseTimes.ms(part)])) as Record<
      PausePart,
      number
    >;
    return {
      epoch,
      pages: checkpoint.pages.count,
      state,
      stoppedMs: runs ? Object.values(parts).reduce((sum, ms) => sum + ms, 0) : 0,
      parts,
    };
  }

  /** Tracks nothing any more. Before the machine is closed; what is shared stays readable, and means nothing. */
  detach(): void {
    this.#area.close();
  }
}

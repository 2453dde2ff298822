import { type Epoch, epoch } from '../../../../src/colo/protocol/numbers.ts';
import type { Resync } from '../resync/resync.ts';
import type { DiskCopy } from './disk-copy.ts';
import type { PrimaryProcess } from './primary-process.ts';
import type { WriteMarks } from './write-marks.ts';

/** It is looked so often what may be forgotten, ms. */
const everyMs = 25;

/**
 * What both disks have durable need not be known to differ. What was written by the end of a checkpoint is forgotten once that is durable
 * on both sides (src/colo/disk/history); and the standby is asked to make durable what it was sent, also while it is copied to.
 */
export class Durability {
  readonly #side: PrimaryProcess;
  readonly #resync: Resync;
  readonly #marks: WriteMarks;
  readonly #copy: DiskCopy;
  /** A flush of P's disk is under way. */
  #isFlushing = false;
  /** The standby's disk was equal when it was asked to make it durable. */
  #asksAll = false;

  constructor(side: PrimaryProcess, resync: Resync, marks: WriteMarks, copy: DiskCopy) {
    this.#side = side;
    this.#resync = resync;
    this.#marks = marks;
    this.#copy = copy;
  }

  start(): void {
    const side = this.#side;
    side.world.agenda.after(everyMs, () => {
      if (side.dead) return;
      side.process(() => {
        if (side.primary.phase === 'protected') this.#forget();
        this.#ask();
      });
      this.start();
    });
  }

  /** The standby has durable what it had been sent by then. */
  durable(epoch: Epoch): void {
    this.#resync.durable(epoch);
    if (!this.#asksAll || !this.#resync.settled()) return;
    this.#side.history.renew(this.#copy.generation, this.#resync.suspect);
  }

  #ask(): void {
    const side = this.#side;
    if (!side.attached || !this.#copy.isRenewed || side.session === undefined || !this.#resync.ask(side.epoch)) return;
    this.#asksAll = this.#copy.inStep;
    side.send({ kind: 'disk-sync', epoch: side.epoch });
  }

  /** A broken rule has it not wait for one of the two disks, or for either. */
  #forget(): void {
    const { world, disk } = this.#side;
    const { mayForget } = world.resyncRules;
    const { generation } = this.#copy;
    if (!this.#copy.isRenewed || this.#isFlushing || this.#marks.isEmpty) return;
    const through = epoch(this.#side.epoch - 1);
    const blocks = this.#marks.upTo(through);
    const forgets = (here: boolean, there: boolean): void => {
      const isSamePairing = !this.#side.dead && this.#side.attached && generation === this.#copy.generation;
      if (!isSamePairing || !mayForget(here, there)) return;
      this.#marks.forget(blocks, through);
      if (!there) this.#resync.believe();
      world.count('marks forgotten');
    };
    if (mayForget(false, false)) forgets(false, false);
    if (mayForget(false, true)) {
      world.standbyLink.askDurable(through, (isDurable) => forgets(false, isDurable));
      return;
    }
    this.#isFlushing = true;
    disk.flush((error) => {
      this.#isFlushing = false;
      if (error !== undefined) return;
      if (mayForget(true, false)) forgets(true, false);
      world.standbyLink.askDurable(through, (isDurable) => {
        if (isDurable) forgets(true, true);
      });
    });
  }
}

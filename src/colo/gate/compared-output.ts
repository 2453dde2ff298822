import { Comparator, type CompareOutcome } from '../compare/comparator.ts';
import type { Divergence } from '../compare/divergence.ts';
import type { PolicyOf } from '../compare/flow-policy.ts';
import { defaultCompareSettings } from '../compare/settings.ts';
import { Confirmations } from '../core/epochs/confirmations.ts';
import type { SecondaryOutput } from '../protocol/messages.ts';
import { type Epoch, next } from '../protocol/numbers.ts';

export interface ComparedOutputParts {
  readonly policyOf: PolicyOf;
  /** A random number: nobody outside may know where connections lie in the table. */
  readonly seed: number;
  /** S has said the same as P's packet of that number: it may leave. */
  readonly release: (number: number) => void;
  /** S has said the first so many bytes of what that packet carries. Whether they have left, and the packet begins there. */
  readonly releasePart: (number: number, bytes: number) => boolean;
  readonly wants: (divergence: Divergence, epoch: Epoch) => void;
  /** Of what S said in that epoch, the first so many need not be kept. */
  readonly confirm: (epoch: Epoch, items: number) => void;
}

/** S hears at once of so many packets that it need not keep; of fewer when it is next looked what waits too long. */
const confirmedTogether = 256;

/**
 * P's output beside S's, for one protection (spec A.5): what S said as well leaves, and S hears now and then what of its own it need not
 * keep any more (spec B.15). That is told only once what was released has left: see {@link allLeft}.
 */
export class ComparedOutput implements CompareOutcome {
  readonly #parts: ComparedOutputParts;
  readonly #comparator: Comparator;
  readonly #confirmations = new Confirmations();
  /** Numbers of S's packets whose like may leave, or has left. */
  #dropped: number[] = [];
  #epoch: Epoch;

  /** @param epoch that begins */
  constructor(parts: ComparedOutputParts, epoch: Epoch) {
    const { policyOf, seed } = parts;
    this.#parts = parts;
    this.#epoch = epoch;
    const settings = defaultCompareSettings;
    this.#comparator = new Comparator({ settings, outcome: this, policyOf, seed, headerBytes: 12 }, epoch);
  }

  get facts(): Comparator['facts'] {
    return this.#comparator.facts;
  }

  /** P's guest said this in the open epoch; it is `number` at the gate. Hot path. */
  primary(card: number, bytes: Uint8Array, offset: number, length: number, number: number, now: number): void {
    this.#comparator.primary(this.#epoch, card, bytes, offset, length, number, now);
  }

  /** S's guest said this. What it said in an epoch that is over is no concern. */
  secondary({ epoch, card, data }: Pick<SecondaryOutput, 'epoch' | 'card' | 'data'>, now: number): void {
    if (epoch !== this.#epoch) return;
    this.#comparator.secondary(epoch, card, data, 0, data.length, this.#confirmations.came(), now);
  }

  /** All of P's output of that epoch was here, if it was compared. */
  endEpoch(epoch: Epoch, wasCompared: boolean): void {
    this.#comparator.endEpoch(epoch);
    if (!wasCompared) this.#comparator.forget();
    this.#epoch = next(epoch);
    this.#confirmations.begin();
    this.#dropped = [];
  }

  /** See {@link Comparator.secondaryRuns}. */
  secondaryRuns(now: number): void {
    this.#comparator.secondaryRuns(now);
  }

  /** See {@link Comparator.hasParts}. */
  get hasParts(): boolean {
    return this.#comparator.hasParts;
  }

  /** See {@link Comparator.releaseParts}. */
  releaseParts(): void {
    this.#comparator.releaseParts();
  }

  /** To be called some ten times a second. */
  scan(now: number): void {
    this.#comparator.scan(now);
    this.#confirm();
  }

  /** Nothing waits that was released. */
  allLeft(): void {
    if (this.#dropped.length === 0) return;
    for (const number of this.#dropped) this.#confirmations.done(number);
    this.#dropped = [];
    if (this.#confirmations.untold >= confirmedTogether) this.#confirm();
  }

  #confirm(): void {
    const items = this.#confirmations.news();
    if (items !== undefined) this.#parts.confirm(this.#epoch, items);
  }

  release(handle: number): void {
    this.#parts.release(handle);
  }

  releasePart(handle: number, bytes: number): boolean {
    return this.#parts.releasePart(handle, bytes);
  }

  drop(handle: number): void {
    this.#dropped.push(handle);
  }

  wantCheckpoint(divergence: Divergence): void {
    this.#parts.wants(divergence, this.#epoch);
  }
}

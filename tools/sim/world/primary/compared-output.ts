import { Confirmations } from '../../../../src/colo/core/epochs/confirmations.ts';
import type { Rules } from '../../../../src/colo/core/rules.ts';
import type { SecondaryOutput } from '../../../../src/colo/protocol/messages.ts';
import { ProtocolError } from '../../../../src/colo/protocol/protocol-error.ts';
import { type Answer, fromNumbers } from '../fakes/fake-guest.ts';
import { fromBytes } from '../fakes/numbers-as-bytes.ts';
import { FakeComparison } from './fake-comparison.ts';
import type { PrimaryProcess } from './primary-process.ts';

/** What has no counterpart for so long wants a checkpoint, and is looked for so often, ms. */
const timeoutMs = 60;
export const scanMs = 15;

/** P's output beside S's: what both have said may leave, and S is told what it need not keep of its own. */
export class ComparedOutput {
  readonly #side: PrimaryProcess;
  readonly #rules: Rules;
  readonly #comparison: FakeComparison;
  readonly #confirmations = new Confirmations();
  /** Of what was found equal and waits: the number of P's, and that of S's. */
  readonly #likes = new Map<number, number>();
  readonly #lost = new Set<number>();

  constructor(side: PrimaryProcess, rules: Rules) {
    this.#side = side;
    this.#rules = rules;
    const bound = side.world.compares && side.world.random.chance(0.3) ? 1 : 8;
    this.#comparison = new FakeComparison(
      rules,
      {
        release: (number, like) => this.#release(number, like),
        drop: (number) => this.#confirmations.done(number),
        lose: (number) => {
          this.#lost.add(number);
          side.gate.match(number);
        },
        wants: (why) => side.post({ kind: 'comparison-wants', epoch: side.epoch, why, waitedMs: 0 }),
      },
      bound,
      timeoutMs,
    );
  }

  /** Another epoch. @param wasCompared so was the one that ended */
  begin(wasCompared: boolean): void {
    if (!this.#side.world.compares) return;
    this.#comparison.begin(wasCompared);
    this.#confirmations.begin();
    this.#likes.clear();
  }

  /** P's guest said it, and it waits at the gate. */
  primarySaid(number: number, answer: Answer): void {
    this.#comparison.primary(number, answer, this.#side.now);
  }

  /** S's guest said it. It does not pass through the core, which says whether it counts. */
  secondarySaid(packet: SecondaryOutput): void {
    const side = this.#side;
    try {
      if (!side.primary.compares(packet.epoch) || side.mode !== 'comparing') return;
      if (!this.#rules.comparable(side.epoch, packet.epoch)) return;
      this.#comparison.secondary(this.#confirmations.came(), fromNumbers(fromBytes(packet.data)), side.now);
      this.#confirm();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      side.post({ kind: 'peer-broke', error });
    }
  }

  /** Looks for what has waited too long. */
  scan(): void {
    if (this.#side.mode === 'comparing') this.#comparison.scan(this.#side.now);
  }

  /** A packet is out: S need not keep the like of it. */
  left(number: number): void {
    const like = this.#likes.get(number);
    if (like === undefined) return;
    this.#likes.delete(number);
    this.#confirmations.done(like);
    this.#confirm();
  }

  isLost(number: number): boolean {
    return this.#lost.has(number);
  }

  #release(number: number, like: number | undefined): void {
    const { world, gate, tap } = this.#side;
    world.count('released by comparison');
    gate.match(number);
    if (like !== undefined) {
      if (this.#rules.confirms(true, false)) this.#confirmations.done(like);
      else this.#likes.set(number, like);
    }
    tap.drain();
  }

  #confirm(): void {
    const { mode, epoch } = this.#side;
    const items = this.#confirmations.news();
    if (items !== undefined && mode === 'comparing') this.#side.send({ kind: 'output-confirmed', epoch, items });
  }
}

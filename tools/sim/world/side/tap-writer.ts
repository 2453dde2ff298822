import type { Gate } from '../../../../src/colo/core/epochs/gate.ts';
import { epoch } from '../../../../src/colo/protocol/numbers.ts';
import type { Answer } from '../fakes/fake-guest.ts';
import type { SideView } from '../side-view.ts';
import type { Surroundings } from '../surroundings.ts';

/** The process whose guest's output it is. */
export interface OutputOwner extends SideView {
  readonly world: Surroundings;
  readonly frozen: boolean;
  process(run: () => void): void;
  /** The packet of that number is out. */
  hasLeft(number: number): void;
  /** A broken rule has it vanish. */
  isLost(number: number): boolean;
  /** All output up to that epoch has left. */
  reportLeft(left: number): void;
}

/** Writes to the TAP what the gate lets out, a packet at a time, when the TAP takes it: each asks the gate at the very write. */
export class TapWriter {
  readonly #owner: OutputOwner;
  readonly #gate: Gate<Answer>;
  /** It takes so long for a packet, ms. */
  readonly #packetMs: number;
  /** The TAP takes nothing before this. */
  busyUntil = 0;
  #draining = false;
  #leftReported = epoch(-1);

  constructor(owner: OutputOwner, packetMs: number) {
    this.#owner = owner;
    this.#gate = owner.gate;
    this.#packetMs = packetMs;
  }

  /** Something may be written, perhaps. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    const owner = this.#owner;
    const { agenda } = owner.world;
    agenda.at(Math.max(agenda.now + this.#packetMs, this.busyUntil), () =>
      owner.process(() => {
        this.#draining = false;
        owner.world.before(owner, 'release');
        if (owner.dead) return;
        if (owner.frozen) this.drain();
        else if (this.#writeNext()) this.drain();
      }),
    );
  }

  /** The process ends: what may leave leaves first. */
  drainAtOnce(): void {
    while (this.#gate.mode === 'direct' && this.#writeNext());
  }

  /** Epochs begin anew. */
  forgetLeft(): void {
    this.#leftReported = epoch(-1);
  }

  /** A packet to the network, if one may leave now. */
  #writeNext(): boolean {
    const owner = this.#owner;
    const gate = this.#gate;
    const number = gate.nextNumber;
    const answer = gate.next(owner.now);
    if (answer !== undefined) {
      if (!owner.isLost(number)) owner.world.spoken(owner, answer);
      owner.hasLeft(number);
      return true;
    }
    const { left } = gate;
    if (gate.mode === 'holding' && left > this.#leftReported) {
      this.#leftReported = left;
      owner.reportLeft(left);
    }
    return false;
  }
}

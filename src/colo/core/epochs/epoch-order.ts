import { type Epoch, epoch, next } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import type { Rules } from '../rules.ts';

/**
 * The order of one stream's items (spec B.1): those of the open epoch, then its end with their number, then the next epoch's.
 * Nothing of the past or the future is taken. Called for each item: allocates nothing.
 */
export class EpochOrder {
  readonly #rules: Rules;
  #open = epoch(0);
  #items = 0;

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  /** The epoch whose items are taken now. */
  get open(): Epoch {
    return this.#open;
  }

  /** This epoch has ended on this stream. */
  hasEnded(epoch: Epoch): boolean {
    return epoch < this.#open;
  }

  /** @throws ProtocolError */
  item(kind: string, epoch: Epoch): void {
    this.#check(kind, epoch);
    this.#items++;
  }

  /** @throws ProtocolError */
  end(kind: string, epoch: Epoch, items: number): void {
    this.#check(kind, epoch);
    if (items !== this.#items) {
      throw new ProtocolError(
        'invalid-message',
        `${kind} counts ${items} items in epoch ${epoch}, ${this.#items} came`,
      );
    }
    this.#open = next(this.#open);
    this.#items = 0;
  }

  #check(kind: string, epoch: Epoch): void {
    if (this.#rules.admits(epoch, this.#open)) return;
    throw new ProtocolError('wrong-epoch', `the peer sent ${kind} of epoch ${epoch} while epoch ${this.#open} is open`);
  }
}

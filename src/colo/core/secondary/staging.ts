import type { EpochItem } from '../../protocol/messages.ts';
import { type Epoch, epoch } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { EpochOrder } from '../epochs/epoch-order.ts';
import type { Rules } from '../rules.ts';

/** Device state of a machine is a few hundred KiB. */
const stateLimitBytes = 256 * 1024 * 1024;

/**
 * What has come of the checkpoint that is under way. Its parts travel on three streams and may come in any order between
 * them; the checkpoint is whole when every stream says that its epoch has ended, and device state has exactly the
 * size that was announced (spec A.2.5).
 */
export class Staging {
  readonly #rules: Rules;
  readonly #pages: EpochOrder;
  readonly #disk: EpochOrder;
  readonly #packets: EpochOrder;
  #epoch = epoch(0);
  #announced: number | undefined;
  #stateBytes = 0;

  constructor(rules: Rules) {
    this.#rules = rules;
    this.#pages = new EpochOrder(rules);
    this.#disk = new EpochOrder(rules);
    this.#packets = new EpochOrder(rules);
  }

  /** The epoch whose checkpoint is gathered. */
  get epoch(): Epoch {
    return this.#epoch;
  }

  get isWhole(): boolean {
    return this.#rules.isWhole(
      this.#pages.hasEnded(this.#epoch),
      this.#announced !== undefined && this.#stateBytes === this.#announced,
      this.#disk.hasEnded(this.#epoch),
      this.#packets.hasEnded(this.#epoch),
    );
  }

  /** The size of device state. @throws ProtocolError */
  announce(bytes: number): void {
    if (bytes > stateLimitBytes) {
      throw new ProtocolError(
        'too-large',
        `the peer announces ${bytes} bytes of device state: more than any machine has`,
      );
    }
    this.#announced = bytes;
    this.#checkState();
  }

  /** @throws ProtocolError */
  take(item: EpochItem): void {
    switch (item.kind) {
      case 'pages':
        this.#pages.item(item.kind, item.epoch);
        return;
      case 'pages-end':
        this.#pages.end(item.kind, item.epoch, item.items);
        return;
      case 'vmstate':
        // It follows its epoch's pages on their stream.
        if (item.epoch !== this.#epoch || !this.#pages.hasEnded(item.epoch)) {
          throw new ProtocolError('wrong-epoch', `the peer sent ${item.kind} of epoch ${item.epoch} before its pages`);
        }
        this.#stateBytes += item.data.length;
        this.#checkState();
        return;
      case 'disk-write':
      case 'disk-discard':
      case 'disk-zeroes':
        this.#disk.item(item.kind, item.epoch);
        return;
      case 'disk-end':
        this.#disk.end(item.kind, item.epoch, item.items);
        return;
      case 'output':
      case 'input':
        this.#packets.item(item.kind, item.epoch);
        return;
      case 'packets-end':
        this.#packets.end(item.kind, item.epoch, item.items);
        return;
      case 'output-confirmed':
        if (item.epoch > this.#packets.open) {
          throw new ProtocolError('wrong-epoch', `output of epoch ${item.epoch} is confirmed before that began`);
        }
        return;
      case 'output-left':
        if (item.epoch >= this.#packets.open) {
          throw new ProtocolError('wrong-epoch', `output of epoch ${item.epoch} left before its epoch ended`);
        }
        return;
      default:
        item satisfies never;
    }
  }

  /** The checkpoint is whole: the next one may be gathered. */
  next(): void {
    this.#epoch = epoch(this.#epoch + 1);
    this.#announced = undefined;
    this.#stateBytes = 0;
  }

  #checkState(): void {
    const limit = this.#announced ?? stateLimitBytes;
    if (this.#stateBytes <= limit) return;
    throw new ProtocolError('invalid-message', `the peer sent ${this.#stateBytes} bytes of device state, not ${limit}`);
  }
}

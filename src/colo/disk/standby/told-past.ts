import { messageTable } from '../../protocol/message-table.ts';
import type { DiskGeneration, Message } from '../../protocol/messages.ts';
import { epoch } from '../../protocol/numbers.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { encodeHistory, generationBytes } from '../history/history.ts';
import type { DurableSteps } from './durable-steps.ts';
import type { StandbyPast } from './standby-parts.ts';

/** P is told what S's disks were, and says what both sides' are from now on: each once, in this order. */
export class ToldPast {
  readonly #past: StandbyPast;
  readonly #steps: DurableSteps;
  readonly #say: (message: Message) => void;
  #state: 'untold' | 'told' | 'renewed' = 'untold';

  constructor(past: StandbyPast, steps: DurableSteps, say: (message: Message) => void) {
    this.#past = past;
    this.#steps = steps;
    this.#say = say;
  }

  /** `disk-origin`. @throws ProtocolError */
  tell(): void {
    if (this.#state !== 'untold') throw new ProtocolError('out-of-order', 'the peer sent disk-origin twice');
    this.#state = 'told';
    const data = encodeHistory(this.#past.history);
    const { limitBytes } = messageTable['disk-history'];
    // Of disks that large nothing is known, then.
    this.#say({ kind: 'disk-history', epoch: epoch(0), data: data.length > limitBytes ? new Uint8Array(0) : data });
  }

  /** `disk-generation`, which is answered once it is durable here. @throws ProtocolError */
  renew({ data }: DiskGeneration): void {
    if (this.#state !== 'told' || data.length !== generationBytes) {
      throw new ProtocolError('out-of-order', 'the peer sent a disk-generation that is none, or not now');
    }
    this.#state = 'renewed';
    const generation = Buffer.from(data).toString('hex');
    this.#steps.add('it cannot be written down what the disks are', async () => {
      await this.#past.renew(generation);
      this.#say({ kind: 'disk-generation', epoch: epoch(0), data: Buffer.from(generation, 'hex') });
    });
  }
}

import { PacketKeep } from '../../../../src/colo/core/epochs/packet-keep.ts';
import type { Rules } from '../../../../src/colo/core/rules.ts';
import type { Packet } from '../../../../src/colo/protocol/messages.ts';
import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import { type Answer, fromNumbers, type Request } from '../fakes/fake-guest.ts';
import { fromBytes } from '../fakes/numbers-as-bytes.ts';

const boundBytes = 1e6;

/** Packets that P mirrors, kept for a takeover (spec B.15); and the count of what reached S, to check that nothing of it is lost there. */
export class KeptPackets {
  readonly #rules: Rules;
  #keep: PacketKeep<Answer | Request>;
  /** The epoch of every input that reached this side. */
  #inputs: Epoch[] = [];
  #replayed = 0;
  /** Those that have entered the guest, which ran. */
  #letIn = 0;

  constructor(rules: Rules) {
    this.#rules = rules;
    this.#keep = new PacketKeep(boundBytes, rules);
  }

  /** Inputs that a takeover replayed. */
  get replayed(): number {
    return this.#replayed;
  }

  beginPairing(): void {
    this.#keep = new PacketKeep(boundBytes, this.#rules);
    this.#inputs = [];
    this.#letIn = 0;
  }

  clear(): void {
    this.#keep.clear();
  }

  keepOutput({ epoch, data }: Packet): void {
    this.#keep.keep('output', epoch, fromNumbers(fromBytes(data)), data.length);
  }

  keepInput(packet: Packet): void {
    this.#keep.keep('input', packet.epoch, requestOf(packet), packet.data.length);
    this.#inputs.push(packet.epoch);
  }

  /** P's output up to that epoch is out. */
  left(epoch: Epoch): void {
    this.#keep.left(epoch);
  }

  committed(epoch: Epoch): void {
    this.#keep.committed(epoch);
  }

  /** A question enters the guest, which runs, at once: it is not kept. */
  passes({ epoch }: Packet): void {
    this.#inputs.push(epoch);
    this.#letIn++;
  }

  /** Questions that were kept for a guest that now runs. */
  takeInputs(epoch: Epoch): Request[] {
    const requests = this.#keep.takeInputs(epoch) as Request[];
    this.#letIn += requests.length;
    return requests;
  }

  /** Questions that a takeover has yet to give to the guest. */
  inputsToReplay(epoch: Epoch): Request[] {
    const requests = this.#keep.inputsToReplay(epoch) as Request[];
    this.#replayed += requests.length;
    return requests;
  }

  outputsToSend(epoch: Epoch): Answer[] {
    return this.#keep.outputsToSend(epoch) as Answer[];
  }

  /** A guest of a checkpoint: no question has entered it since. */
  guestLoaded(): void {
    this.#letIn = 0;
  }

  /** How many inputs reached this side after that checkpoint. */
  cameAfter(received: number): number {
    return this.#inputs.filter((epoch) => epoch > received).length;
  }

  /** How many inputs a takeover at that checkpoint must replay. */
  expectedAfter(received: number): number {
    return this.cameAfter(received) - this.#letIn;
  }
}

export function requestOf({ data }: Packet): Request {
  const [client, number, base, echo] = fromBytes(data) as unknown as readonly [number, number, number, number];
  return { client, number, base, echo };
}

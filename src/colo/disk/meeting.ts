import type { DiskGeneration, DiskHistory, Message } from '../protocol/messages.ts';
import { epoch } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import { decodeHistory, type Suspicion } from './history/history.ts';
import type { PrimaryChanges } from './history/primary-changes.ts';
import { Owed, type WaitingPort } from './owed.ts';

export interface MeetingPort extends WaitingPort {
  /** Every change of P's guest that is under way is forwarded. */
  readonly isComplete: boolean;
  send(message: Message): void;
  wakeIo(): void;
}

/**
 * What comes before disks are made equal, on P: what may differ is found out, and both sides write down from which moment that counts.
 *
 *     P                                              S
 *     disk-origin  ----------------------------->
 *                  <-----------------------------    disk-history: its generation, and where it may have written since
 *     P's disks are durable, and so is its record of the new generation, or that none can be relied on; S waits as long as that takes
 *     disk-generation  ------------------------->    S's is, and what it may have written is forgotten
 *                  <-----------------------------    disk-generation
 *
 * Until S has answered, what P knows counts from both generations: cut off anywhere, one of them fits the next time.
 */
export class Meeting {
  readonly #port: MeetingPort;
  readonly #changes: PrimaryChanges;
  readonly #owed: Owed;
  #history: Uint8Array | undefined;
  #generation: string | undefined;
  #isKept = false;

  constructor(port: MeetingPort, changes: PrimaryChanges) {
    this.#port = port;
    this.#changes = changes;
    this.#owed = new Owed(port);
  }

  /** @throws Error if nobody could rely on what is on P's disks; what `moved` rejects with */
  async run(): Promise<Suspicion> {
    const changes = this.#changes;
    this.#port.send({ kind: 'disk-origin', epoch: epoch(0) });
    await this.#owed.until('disk-history', () => this.#history !== undefined);
    const suspicion = changes.meet(decodeHistory(this.#history ?? new Uint8Array(0)));
    // Of all that P's own disks take long for S waits only here: what the copy needs of them too is waited for now.
    while (!this.#port.isComplete) await this.#port.moved();
    changes.flush();
    this.#port.wakeIo();
    while (!changes.isFlushed) await this.#port.moved();
    const generation = await changes.renew();
    this.#port.wakeIo();
    while (!changes.isKept) await this.#port.moved();
    this.#generation = generation;
    this.#port.send({ kind: 'disk-generation', epoch: epoch(0), data: Buffer.from(generation, 'hex') });
    await this.#owed.until('disk-generation', () => this.#isKept);
    changes.renewed();
    return suspicion;
  }

  peerMoved(): void {
    this.#owed.peerMoved();
  }

  /** @throws ProtocolError if nobody asked for that */
  answered(message: DiskHistory | DiskGeneration): void {
    if (message.kind === 'disk-history' && this.#history === undefined) this.#history = new Uint8Array(message.data);
    else if (message.kind === 'disk-generation' && hexOf(message.data) === this.#generation && !this.#isKept) {
      this.#isKept = true;
    } else throw new ProtocolError('out-of-order', `the peer sent ${message.kind} that nobody asked for`);
  }
}

function hexOf(data: Uint8Array): string {
  return Buffer.from(data).toString('hex');
}

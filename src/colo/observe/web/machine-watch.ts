import * as v from 'valibot';
import { MachineConnection } from '../../../vmm/client/machine-connection.ts';
import { type MachineStatus, statusOf } from '../../../vmm/client/machine-status.ts';
import { pairEvent, pairEvents } from '../../../vmm/client/pair-answers.ts';
import type { ColoEvent } from '../../../vmm/monitor/colo-control.ts';

/** What was heard of a machine, and when (ms since 1970). */
export type Heard = { readonly at: number } & (
  | { readonly status: MachineStatus }
  /** Nothing; why, in a sentence. */
  | { readonly problem: string }
);

/** Who a machine is: what stays true of it while it hangs. */
export interface MachineIdentity {
  readonly name?: string;
  /** Absent: it is in no pair. */
  readonly pair?: string;
}

/** Whoever asks again within this time hears the same: any number of clients cost the machine no more than one. */
const freshMs = 200;
/** One that does not answer a question within this time hangs. */
const patienceMs = 1000;
/** As many events are kept for who comes later. */
const keptEvents = 50;

/**
 * A machine as whoever says `colo-vmm status --json` sees it, over its control socket: of this process's own machine, whatever its
 * role is. The connection is made when it is needed, and again when it is lost.
 */
export class MachineWatch {
  readonly #path: string;
  readonly #pid: number;
  #events: ColoEvent[] = [];
  #identity: MachineIdentity | undefined;
  #machine: MachineConnection | undefined;
  #asking: Promise<Heard> | undefined;
  #last: { readonly heard: Heard; readonly at: number } | undefined;
  /** The log was asked for on this connection; what came after it was told. */
  #knowsPast = false;
  #closed = false;

  /**
   * @param path of the control socket
   * @param pid of the process that is to serve it: another one's machine is another machine
   */
  constructor(path: string, pid = process.pid) {
    this.#path = path;
    this.#pid = pid;
  }

  /** The last events, newest last; those before the first question too. */
  get events(): readonly ColoEvent[] {
    return this.#events;
  }

  /** As it said last, also if it hangs since, or the thread that protects its guest does; undefined: it has said nothing yet. */
  get identity(): MachineIdentity | undefined {
    return this.#identity;
  }

  /** Asks the machine for all there is to know, unless somebody just did. Never rejects. */
  now(): Promise<Heard> {
    if (this.#last !== undefined && performance.now() - this.#last.at < freshMs) {
      return Promise.resolve(this.#last.heard);
    }
    this.#asking ??= this.#ask().then((heard) => {
      this.#asking = undefined;
      this.#last = { heard, at: performance.now() };
      return heard;
    });
    return this.#asking;
  }

  close(): void {
    this.#closed = true;
    this.#machine?.close();
  }

  async #ask(): Promise<Heard> {
    try {
      this.#machine ??= await this.#open();
      const machine = this.#machine;
      const status = await statusOf(machine);
      if (status.pid !== this.#pid) throw new Error(`${this.#path} is served by another process, ${status.pid}`);
      this.#identity = identityOf(status, this.#identity);
      if (status.colo !== undefined && !this.#knowsPast) await this.#hearPast(machine);
      return { at: Date.now(), status };
    } catch (error) {
      // Its answer may come yet, and nobody would wait for it.
      this.#machine?.close();
      this.#machine = undefined;
      return { at: Date.now(), problem: (error as Error).message };
    }
  }

  async #open(): Promise<MachineConnection> {
    this.#knowsPast = false;
    const hear = (name: string, data: unknown): void => {
      if (name === 'X_COLO_EVENT' && v.is(pairEvent, data)) this.#keep([data]);
    };
    const machine = await MachineConnection.open(this.#path, hear, patienceMs);
    if (this.#closed) {
      machine.close();
      throw new Error('nobody watches any more');
    }
    return machine;
  }

  /** What happened before; only of a pair that answers, for a question that hangs holds up all that come after it. */
  async #hearPast(machine: MachineConnection): Promise<void> {
    const events = v.parse(pairEvents, await machine.ask('x-colo-events'));
    this.#knowsPast = true;
    this.#events = [];
    this.#keep(events);
  }

  #keep(events: readonly ColoEvent[]): void {
    this.#events = [...this.#events, ...events].slice(-keptEvents);
  }
}

function identityOf({ name, colo, coloUnknown }: MachineStatus, last: MachineIdentity | undefined): MachineIdentity {
  const pair = coloUnknown === undefined ? colo?.pair : last?.pair;
  return { ...(name === undefined ? {} : { name }), ...(pair === undefined ? {} : { pair }) };
}

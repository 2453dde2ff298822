import type { Rules } from '../../../../src/colo/core/rules.ts';
import { type Answer, clientCount, type FakeGuest, opensConnection, type Request } from '../fakes/fake-guest.ts';

/** Numbers of a translation's state. */
export const translationNumbers = 2 * clientCount;

/**
 * A guest's sequence numbers into those that clients know (spec A.6): each guest numbers a new connection as it likes. A client's question
 * says how the connection is numbered for it; from then on what the guest answers there is translated. A survivor's goes on with
 * its next standby, and is part of its checkpoints.
 */
export class Translation {
  readonly #rules: Rules;
  readonly #offsets: number[] = new Array(clientCount).fill(0);
  /** The latest clock that each client is known to have seen: none may be older (PAWS). */
  readonly #echoes: number[] = new Array(clientCount).fill(0);

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  save(): number[] {
    return [...this.#offsets, ...this.#echoes];
  }

  /** The guest is P's of a checkpoint: so are the numbers of its connections. @param state as P's {@link save} said */
  checkpoint(state: readonly number[]): void {
    for (let client = 0; client < clientCount; client++) {
      if (this.#rules.checkpointResetsOffsets) this.#offsets[client] = state[client] as number;
      this.#echoes[client] = Math.max(this.#echoes[client] as number, state[clientCount + client] as number);
    }
  }

  /** A question that enters the guest. */
  learn({ client, number, base, echo }: Request, guest: FakeGuest): void {
    this.#echoes[client] = Math.max(echo, this.#echoes[client] as number);
    const last = guest.last[client]?.number ?? 0;
    // Of a connection that is over.
    if (number < last) return;
    if (opensConnection(number) && number !== last) this.#offsets[client] = 0;
    else if (base !== 0) this.#offsets[client] = base - (guest.bases[client] as number);
  }

  translate(answer: Answer): Answer {
    if (answer.ack === 1) return answer;
    const clock = Math.max(answer.clock, this.#echoes[answer.client] as number);
    return { ...answer, clock, sequence: answer.sequence + (this.#offsets[answer.client] as number) };
  }
}

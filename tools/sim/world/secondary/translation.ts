import type { Rules } from '../../../../src/colo/core/rules.ts';
import { type Answer, clientCount, type Request } from '../fakes/fake-guest.ts';

/**
 * Sequence numbers of S's guest into P's (spec A.6): each guest numbers a new connection as it likes. A client's question says how
 * the connection is numbered for it; from then on what S's guest answers there is translated.
 */
export class Translation {
  readonly #rules: Rules;
  readonly #offsets: number[] = new Array(clientCount).fill(0);
  /** The latest clock that each client is known to have seen: none may be older (PAWS). */
  readonly #echoes: number[] = new Array(clientCount).fill(0);

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  /** The guest is P's of a checkpoint: so are the numbers of its connections. */
  checkpoint(): void {
    if (this.#rules.checkpointResetsOffsets) this.#offsets.fill(0);
  }

  /** A question for the guest, which numbers its connection from `own` on; undefined: it is a new one. */
  learn(request: Request, own: number | undefined): void {
    this.#echoes[request.client] = Math.max(request.echo, this.#echoes[request.client] as number);
    if (own === undefined) this.#offsets[request.client] = 0;
    else if (request.base !== 0) this.#offsets[request.client] = request.base - own;
  }

  translate(answer: Answer): Answer {
    if (answer.ack === 1) return answer;
    const clock = Math.max(answer.clock, this.#echoes[answer.client] as number);
    return { ...answer, clock, sequence: answer.sequence + (this.#offsets[answer.client] as number) };
  }
}

import type { Rules } from '../../../../src/colo/core/rules.ts';
import { type Answer, clientCount } from '../fakes/fake-guest.ts';

/** What the comparison says of packets, by their numbers. */
export interface ComparisonListener {
  /** P's may leave. `like`: S's, which said the same; none, if S has nothing to keep for it. */
  release(primary: number, like: number | undefined): void;
  /** S's like has left already, or nobody waits for one. */
  drop(secondary: number): void;
  /** P's is lost: only a broken rule does that. */
  lose(primary: number): void;
  wants(why: 'divergence'): void;
}

interface Said {
  readonly number: number;
  readonly answer: Answer;
  readonly at: number;
}

/** Of one client's connection, in this epoch. */
interface Flow {
  primary: Said[];
  secondary: Said[];
  /** The last question that S's guest acknowledged, by an answer or by itself. */
  acknowledged: number;
  /** The last question whose answers were found equal. */
  compared: number;
  /** What P's guest has said in all epochs that were compared, and what of that S has said by the checkpoint. */
  said: Acknowledged;
  covered: Acknowledged;
  /** The last question that P's guest answered. */
  primaryAnswered: number;
}

/** The last question that a guest acknowledged by itself, in which of its lives: with a reset it is another connection. */
interface Acknowledged {
  readonly number: number;
  readonly life: number;
}

const nothing: Acknowledged = { number: 0, life: 0 };

function newFlows(): Flow[] {
  return Array.from({ length: clientCount }, () => ({
    primary: [],
    secondary: [],
    acknowledged: 0,
    compared: 0,
    said: nothing,
    covered: nothing,
    primaryAnswered: 0,
  }));
}

/**
 * What compares two guests' answers, in the shape of src/colo/compare: packets in; release, drop and checkpoint wanted out. Of an
 * answer the clock and the sequence number are not compared.
 */
export class FakeComparison {
  readonly #rules: Rules;
  readonly #listener: ComparisonListener;
  readonly #bound: number;
  readonly #timeoutMs: number;
  #flows: Flow[] = newFlows();

  /** @param bound packets of P that wait in one connection before a checkpoint is wanted */
  constructor(rules: Rules, listener: ComparisonListener, bound: number, timeoutMs: number) {
    this.#rules = rules;
    this.#listener = listener;
    this.#bound = bound;
    this.#timeoutMs = timeoutMs;
  }

  /** Another epoch, in which S's guest has said all that P's had. @param wasCompared so was the one that ended */
  begin(wasCompared: boolean): void {
    if (!wasCompared) {
      this.#flows = newFlows();
      return;
    }
    for (const flow of this.#flows) {
      flow.primary = [];
      flow.secondary = [];
      flow.acknowledged = flow.primaryAnswered;
      flow.covered = flow.said;
      flow.compared = flow.primaryAnswered;
    }
  }

  primary(number: number, answer: Answer, at: number): void {
    const flow = this.#flows[answer.client] as Flow;
    if (answer.ack === 1) {
      flow.said = { number: answer.number, life: answer.sequence };
      const covered = answer.sequence === flow.covered.life ? flow.covered.number : 0;
      const isSaid = this.#rules.mayAcknowledge(answer.number, Math.max(flow.acknowledged, covered));
      if (isSaid) this.#listener.release(number, undefined);
      else this.#hold(flow, { number, answer, at });
      return;
    }
    flow.primaryAnswered = Math.max(flow.primaryAnswered, answer.number);
    if (answer.number <= flow.compared) {
      this.#listener.release(number, undefined); // said again
      return;
    }
    const like = flow.secondary.find((said) => said.answer.number === answer.number);
    if (like === undefined) this.#hold(flow, { number, answer, at });
    else this.#pair(flow, { number, answer, at }, like);
  }

  secondary(number: number, answer: Answer, at: number): void {
    const flow = this.#flows[answer.client] as Flow;
    flow.acknowledged = Math.max(flow.acknowledged, answer.number);
    const free = flow.primary.filter(
      (said) => said.answer.ack === 1 && this.#rules.mayAcknowledge(said.answer.number, flow.acknowledged),
    );
    for (const said of free) {
      flow.primary.splice(flow.primary.indexOf(said), 1);
      this.#listener.release(said.number, undefined);
    }
    if (answer.ack === 1 || answer.number <= flow.compared) {
      this.#listener.drop(number);
      return;
    }
    const like = flow.primary.find((said) => said.answer.ack === 0 && said.answer.number === answer.number);
    if (like === undefined) flow.secondary.push({ number, answer, at });
    else this.#pair(flow, like, { number, answer, at });
  }

  /** Looks for what has waited too long. */
  scan(now: number): void {
    const late = (said: Said): boolean => now - said.at > this.#timeoutMs;
    for (const { primary, secondary } of this.#flows) {
      if (primary.some(late) || secondary.some(late)) this.#listener.wants('divergence');
    }
  }

  #hold(flow: Flow, said: Said): void {
    if (flow.primary.length >= this.#bound) {
      this.#listener.wants('divergence');
      if (this.#rules.overflowDropsOutput) {
        this.#listener.lose(said.number);
        return;
      }
    }
    flow.primary.push(said);
  }

  #pair(flow: Flow, primary: Said, secondary: Said): void {
    const { answer } = primary;
    if (answer.hash !== secondary.answer.hash || answer.index !== secondary.answer.index) {
      if (!flow.primary.includes(primary)) flow.primary.push(primary);
      this.#listener.wants('divergence');
      return;
    }
    flow.primary = flow.primary.filter((said) => said !== primary);
    flow.secondary = flow.secondary.filter((said) => said !== secondary);
    flow.compared = answer.number;
    this.#listener.release(primary.number, secondary.number);
  }
}

import type { ColoStatus } from '../../vmm/monitor/colo-control.ts';
import { type Arbiter, ArbiterError, type TermRecord, type Verdict } from '../arbiter/arbiter.ts';
import type { ArbiterConfig } from '../arbiter/arbiter-config.ts';
import { EtcdArbiter } from '../arbiter/etcd-arbiter.ts';
import { FileArbiter } from '../arbiter/file-arbiter.ts';
import type { ArbiterAnswer } from '../core/events.ts';

/** One question to an arbiter may take so long: etcd on a slow disk takes seconds, and is there all the same. */
const patienceMs = 10_000;
/** Whoever begins to look waits for the first answer at most so long. */
const firstLookMs = 2000;
/** What has no answer yet is asked again beside it, by another connection, but not more often than this. */
const askAgainMs = 1000;
/** An arbiter is looked at this often while it is not needed, so that an operator hears of it before it is. */
const checkPeriodMs = 5000;

/**
 * Asks the pair's arbiter (spec B.6) on behalf of a core, and looks now and then whether it is there.
 *
 * A manual arbiter is the operator: the answer is yes to who is asked by an operator's command, and unknown before.
 */
export class ArbiterDesk {
  readonly #pair: string;
  readonly #arbiter: Arbiter | undefined;
  readonly #holder: string;
  readonly #changed: (problem: string | undefined) => void;
  #isLooking = false;
  #claimedAt = Number.NEGATIVE_INFINITY;
  #claims = 0;
  #timer: NodeJS.Timeout | undefined;
  /** The term that it gave to a claim, and that nobody has registered since. */
  #granted: number | undefined;
  /** The term that the arbiter does not know yet. */
  #unregistered: number | undefined;
  #registering: NodeJS.Timeout | undefined;
  /** The term from which a claim would begin; and how many looks in a row found less. */
  #expected: number | undefined;
  #behind = 0;
  /** Why the term of this side is not its own: no later look takes that back, for an arbiter that is ahead is what a claim makes. */
  #contradiction: string | undefined;
  #answeredInMs: number | undefined;
  #answeredAt: number | undefined;
  #problem: string | undefined;
  #isMisconfigured = false;

  /**
   * @param holder who this process is to the arbiter: no process is ever granted what another one was
   * @param changed the arbiter stopped answering, for that reason, or answers again
   */
  constructor(pair: string, config: ArbiterConfig, holder: string, changed: (problem: string | undefined) => void) {
    this.#pair = pair;
    this.#holder = holder;
    this.#changed = changed;
    this.#arbiter = arbiterOf(config);
  }

  /** What `status` says of it. */
  get facts(): ColoStatus['arbiter'] {
    return {
      name: this.#arbiter?.name ?? 'manual',
      ...(this.#answeredInMs === undefined ? {} : { answeredInMs: this.#answeredInMs }),
      ...(this.#answeredAt === undefined ? {} : { answeredMsAgo: performance.now() - this.#answeredAt }),
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    };
  }

  /** The last question failed for a reason that asking again does not mend: see {@link ArbiterError.isMisconfigured}. */
  get isMisconfigured(): boolean {
    return this.#isMisconfigured;
  }

  /** Looks at the arbiter from now on. Resolves after the first look, or when that takes long. */
  async watch(): Promise<void> {
    if (this.#arbiter === undefined) return;
    this.#timer = setInterval(() => void this.#check(), checkPeriodMs);
    this.#timer.unref();
    let enough: NodeJS.Timeout | undefined;
    const long = new Promise<void>((resolve) => {
      enough = setTimeout(resolve, firstLookMs);
    });
    await Promise.race([this.#check(), long]);
    clearTimeout(enough);
  }

  /**
   * This side has the guest in this term: later claims begin from it. Without an answer, whoever {@link watch}es asks again as often as
   * one that claims: the other side may do so, for the same term, and has it if it is answered first.
   *
   * @returns what the arbiter said, perhaps to a claim; undefined if it did not answer, or if the arbiter is an operator
   */
  async register(term: number): Promise<Verdict | undefined> {
    if (term === this.#granted) {
      // Once: by a later pairing in that term the arbiter may have lost it, or given another one.
      this.#granted = undefined;
      const granted = { kind: 'granted' } as const;
      this.#registered(term, granted);
      return granted;
    }
    this.#unregistered = term;
    clearInterval(this.#registering);
    if (this.#timer !== undefined) {
      this.#registering = setInterval(() => void this.#register(term), askAgainMs).unref();
    }
    return this.#register(term);
  }

  #register(term: number): Promise<Verdict | undefined> {
    return this.#ask(
      (arbiter) => arbiter.register({ pair: this.#pair, term, holder: this.#holder }),
      (found) => {
        // It may be in a later term by now.
        if (term === this.#unregistered) this.#registered(term, found);
        return undefined;
      },
    );
  }

  #registered(term: number, found: Verdict): void {
    this.#unregistered = undefined;
    clearInterval(this.#registering);
    if (found.kind === 'granted') this.expect(term);
    else this.#contradiction = this.#contradictionOf(term, found);
  }

  #contradictionOf(term: number, found: Extract<Verdict, { kind: 'refused' }>): string {
    const [name, remedy] = [this.#arbiter?.name, 'colo-vmm unprotect, and protect it again'];
    return found.holder === this.#holder
      ? `${name} gave this process term ${found.term}, which it never began, this side is in term ${term}: ${remedy}`
      : `${name} gave term ${found.term} of this pair to another process, this side is in term ${term}: does the guest run twice? If it certainly does not: ${remedy}`;
  }

  /**
   * A claim would begin from this term, which somebody has registered, or undefined: from none. At the looks it is seen whether the arbiter knows it. One
   * that does not is another one than the other side's, or has lost what it knew, and would give no term when it matters.
   */
  expect(term: number | undefined): void {
    this.#contradiction = undefined;
    this.#expected = term;
    this.#behind = 0;
  }

  /**
   * Asks for a term. While an earlier question has no answer yet, that is what is waited for.
   *
   * @param isWanted whether the term is still wanted, as of {@link Arbiter.claim}
   */
  async claim(term: number, byOperator: boolean, isWanted: () => boolean): Promise<ArbiterAnswer> {
    if (this.#arbiter === undefined) return byOperator ? 'yes' : 'unknown';
    const now = performance.now();
    if (this.#claims > 0 && now - this.#claimedAt < askAgainMs) return 'unknown';
    this.#claimedAt = now;
    this.#claims++;
    const verdict = await this.#ask((arbiter) =>
      arbiter.claim({ pair: this.#pair, term, holder: this.#holder }, isWanted),
    );
    this.#claims--;
    if (verdict === undefined) return 'unknown';
    if (verdict.kind === 'granted') this.#granted = term;
    return verdict.kind === 'granted' ? 'yes' : 'no';
  }

  close(): void {
    clearInterval(this.#timer);
    clearInterval(this.#registering);
    this.#arbiter?.close();
  }

  async #check(): Promise<void> {
    // Whoever registers hears of it then.
    if (this.#isLooking || this.#unregistered !== undefined) return;
    this.#isLooking = true;
    await this.#ask(
      (arbiter) => arbiter.check(this.#pair),
      (found) => this.#doubt(found),
    );
    this.#isLooking = false;
  }

  #doubt(found: TermRecord | undefined): string | undefined {
    const expected = this.#expected;
    if (expected === undefined || (found !== undefined && found.term >= expected)) {
      this.#behind = 0;
      return undefined;
    }
    // The other side may be about to register it.
    if (++this.#behind < 2) return undefined;
    const knows = found === undefined ? 'does not know this pair' : `knows this pair in term ${found.term}`;
    return `${this.#arbiter?.name} ${knows}, though it is in term ${expected}: do both hosts ask the same one, and has it lost nothing?`;
  }

  /** @param judge what is wrong with the answer, if something is */
  async #ask<T>(
    question: (arbiter: Arbiter) => Promise<T>,
    judge: (answer: T) => string | undefined = () => undefined,
  ): Promise<T | undefined> {
    if (this.#arbiter === undefined) return undefined;
    const begun = performance.now();
    try {
      const answer = await question(this.#arbiter);
      this.#answeredAt = performance.now();
      this.#answeredInMs = this.#answeredAt - begun;
      const problem = judge(answer);
      this.#setProblem(this.#contradiction ?? problem);
      return answer;
    } catch (error) {
      this.#isMisconfigured = error instanceof ArbiterError && error.isMisconfigured;
      this.#setProblem((error as Error).message);
      return undefined;
    }
  }

  #setProblem(problem: string | undefined): void {
    const before = this.#problem;
    this.#problem = problem;
    // Each failure may have other words; but what an arbiter says when it answers again is news.
    const isContradiction = problem === this.#contradiction && problem !== before;
    if (isContradiction || (problem === undefined) !== (before === undefined)) this.#changed(problem);
  }
}

/** Undefined if it is a person. */
function arbiterOf(config: ArbiterConfig): Arbiter | undefined {
  switch (config.kind) {
    case 'manual':
      return undefined;
    case 'etcd':
      return new EtcdArbiter({ ...config.etcd, patienceMs });
    case 'file':
      return new FileArbiter({ folder: config.folder, patienceMs });
    default:
      return config satisfies never;
  }
}

import * as v from 'valibot';
import { type Arbiter, ArbiterError, type TermClaim, type TermRecord, type Verdict } from './arbiter.ts';
import { EtcdClient, type EtcdClientOptions, type EtcdValue } from './etcd-client.ts';
import { type Question, ruleOn } from './term-rule.ts';

export interface EtcdArbiterOptions extends EtcdClientOptions {
  /** What the keys begin with, so that a cluster can serve others too. */
  readonly prefix: string;
}

/** Nobody but the two sides of a pair writes its key; more rounds than this mean that somebody else does. */
const mostRounds = 8;

/** What stands under a pair's key. */
const recordSchema = v.object({
  term: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  holder: v.string(),
});

/**
 * An etcd cluster as arbiter. A pair has one key, `PREFIX PAIR/term`, that holds its term and who has it, and is changed by
 * compare-and-swap, so that of two claims for a term one finds that the other was first.
 */
export class EtcdArbiter implements Arbiter {
  readonly name: string;
  readonly #client: EtcdClient;
  readonly #prefix: string;

  constructor(options: EtcdArbiterOptions) {
    this.#client = new EtcdClient(options);
    this.#prefix = options.prefix;
    this.name = `etcd ${options.endpoints.join(', ')}`;
  }

  register(claim: TermClaim): Promise<Verdict> {
    // Undefined is a claim's alone.
    return this.#ask('register', claim) as Promise<Verdict>;
  }

  claim(claim: TermClaim, isWanted?: () => boolean): Promise<Verdict | undefined> {
    return this.#ask('claim', claim, isWanted);
  }

  async check(pair: string): Promise<TermRecord | undefined> {
    return this.#read(pair, await this.#client.get(this.#key(pair)));
  }

  close(): void {
    this.#client.close();
  }

  async #ask(question: Question, claim: TermClaim, isWanted = (): boolean => true): Promise<Verdict | undefined> {
    const { pair, term, holder } = claim;
    const key = this.#key(pair);
    for (let round = 0; round < mostRounds; round++) {
      const value = await this.#client.get(key);
      const verdict = ruleOn(question, claim, this.#read(pair, value), {
        arbiter: this.name,
        doubt: 'were its data lost or restored?',
      });
      if (verdict !== undefined) return verdict;
      // etcd may have taken long to say what it knows.
      if (!isWanted()) return undefined;
      const record: TermRecord = { term, holder };
      if (await this.#client.replace(key, JSON.stringify(record), value?.revision)) return { kind: 'granted' };
    }
    throw new ArbiterError(`${this.name}: its key ${key} changes all the time; does something else write to it?`);
  }

  #read(pair: string, value: EtcdValue | undefined): TermRecord | undefined {
    if (value === undefined) return undefined;
    let parsed: unknown;
    try {
      parsed = JSON.parse(value.value);
    } catch {
      parsed = undefined;
    }
    const result = v.safeParse(recordSchema, parsed);
    if (result.success) return result.output;
    throw new ArbiterError(
      `${this.name}: its key ${this.#key(pair)} holds something else than a pair's term; give --arbiter another prefix=`,
    );
  }

  #key(pair: string): string {
    return `${this.#prefix}${pair}/term`;
  }
}

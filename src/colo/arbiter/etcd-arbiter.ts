import * as v from 'valibot';
import { type Arbiter, ArbiterError, type TermClaim, type Verdict } from './arbiter.ts';
import { EtcdClient, type EtcdClientOptions, type EtcdValue } from './etcd-client.ts';

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
type TermRecord = v.InferOutput<typeof recordSchema>;

/**
 * An etcd cluster as arbiter. A pair has one key, `PREFIX PAIR/term`, that holds its term and who has it:
 *
 *     register(n)   paired:     any earlier term, or none -> n      (both sides agree on it)
 *     claim(n)      peer lost:  n - 1 -> n, and nothing else
 *
 * each by compare-and-swap, so that of two claims for a term one finds that the other was first. A key that has gone is no
 * reason to say yes: whoever removed it may have removed the other side's claim.
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
    return this.#swap(claim, (found) => found === undefined || found.term < claim.term);
  }

  claim(claim: TermClaim): Promise<Verdict> {
    return this.#swap(claim, (found) => {
      if (found !== undefined && found.term === claim.term - 1) return true;
      if (found !== undefined && found.term >= claim.term) return false;
      const knows = found === undefined ? 'does not know this pair' : `knows it in term ${found.term}`;
      throw new ArbiterError(
        `${this.name} ${knows}, though it was paired in term ${claim.term - 1}; were its data lost or restored? ` +
          'If the other side is certainly off: colo-vmm failover --i-am-sure',
      );
    });
  }

  async check(pair: string): Promise<number> {
    const begun = performance.now();
    this.#read(pair, await this.#client.get(this.#key(pair)));
    return performance.now() - begun;
  }

  close(): void {
    this.#client.close();
  }

  async #swap(claim: TermClaim, mayReplace: (found: TermRecord | undefined) => boolean): Promise<Verdict> {
    const { pair, term, holder } = claim;
    const key = this.#key(pair);
    for (let round = 0; round < mostRounds; round++) {
      const value = await this.#client.get(key);
      const found = this.#read(pair, value);
      // It was granted before, and the answer was lost.
      if (found?.term === term && found.holder === holder) return { kind: 'granted' };
      if (!mayReplace(found)) return { kind: 'refused', term: found?.term ?? 0, holder: found?.holder ?? '' };
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

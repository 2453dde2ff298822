/** A side that asks to run on alone, and the term that it asks for. */
export interface TermClaim {
  /** Name of the pair. */
  readonly pair: string;
  /** The new term: one more than the one in which both sides were paired. */
  readonly term: number;
  /** The side that asks: an id that no other process has ever had. */
  readonly holder: string;
}

/** The last term of a pair that an arbiter knows, and who has it. */
export interface TermRecord {
  readonly term: number;
  readonly holder: string;
}

/** `refused`: the term has another holder, or a later term has begun. */
export type Verdict =
  | { readonly kind: 'granted' }
  | { readonly kind: 'refused'; readonly term: number; readonly holder: string };

/**
 * Says which side may run on alone (spec/colo.md, B.6). For each pair and term at most one holder is ever granted, and the
 * same holder is granted it again when it asks again, because an answer may have been lost on its way.
 */
export interface Arbiter {
  /** Such as `etcd http://c.example:2379`, for status and messages. */
  readonly name: string;
  /**
   * Makes `term` the pair's term with `holder` as its primary, while both sides are paired and agree: what later claims begin
   * from. Refused if the arbiter knows a later term.
   *
   * @throws ArbiterError if the answer is not known
   */
  register(claim: TermClaim): Promise<Verdict>;
  /**
   * Claims `term` when the peer is lost.
   *
   * @param isWanted false: whoever asked cannot go on any more, and the other side is to have the term
   * @returns undefined: it was not wanted any more before it was taken
   * @throws ArbiterError if the answer is not known: the claim may have been granted, and is to be repeated
   */
  claim(claim: TermClaim, isWanted?: () => boolean): Promise<Verdict | undefined>;
  /** The pair's last term, if there is one: a look whether the arbiter answers, which changes nothing. @throws ArbiterError */
  check(pair: string): Promise<TermRecord | undefined>;
  /** Closes connections; requests under way fail. */
  close(): void;
}

/** The arbiter gave no answer that can be relied on. The message names it and what would help. */
export class ArbiterError extends Error {
  readonly code = 'ARBITER';
  /** Asking again does not help until this side is told something else of it: a password, a certificate, an address. */
  readonly isMisconfigured: boolean;

  constructor(message: string, { isMisconfigured = false }: { isMisconfigured?: boolean } = {}) {
    super(message);
    this.name = 'ArbiterError';
    this.isMisconfigured = isMisconfigured;
  }
}

import { ArbiterError, type TermClaim, type TermRecord, type Verdict } from './arbiter.ts';

/** `register`: both sides are paired and agree on the term. `claim`: one has lost the other. */
export type Question = 'register' | 'claim';

/**
 * The rule that every arbiter keeps (spec B.6), for the last term that it knows:
 *
 *     register(n)   paired:     any earlier term, or none -> n
 *     claim(n)      peer lost:  n - 1 -> n, and nothing else
 *
 * A pair that is not known any more is no reason to say yes: whoever removed its term may have removed the other side's claim.
 *
 * @param arbiter its name
 * @param doubt what may have happened to an arbiter that knows too little, as a question
 * @returns undefined if the term may be taken, unless the last term changes before it is
 * @throws ArbiterError if the arbiter knows too little
 */
export function ruleOn(
  question: Question,
  claim: TermClaim,
  found: TermRecord | undefined,
  { arbiter, doubt }: { readonly arbiter: string; readonly doubt: string },
): Verdict | undefined {
  // It was granted before, and the answer was lost.
  if (found?.term === claim.term && found.holder === claim.holder) return { kind: 'granted' };
  if (found !== undefined && found.term >= claim.term) {
    return { kind: 'refused', term: found.term, holder: found.holder };
  }
  if (question === 'register' || found?.term === claim.term - 1) return undefined;
  const knows = found === undefined ? 'does not know this pair' : `knows it in term ${found.term}`;
  throw new ArbiterError(
    `${arbiter} ${knows}, though it was paired in term ${claim.term - 1}; ${doubt} ` +
      'If the other side is certainly off: colo-vmm failover --i-am-sure',
  );
}

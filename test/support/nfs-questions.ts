import type { TermClaim, TermRecord, Verdict } from '../../src/colo/arbiter/arbiter.ts';

/** What nfs-asker.ts is asked. */
export type Question =
  | { readonly ask: 'register' | 'claim'; readonly claim: TermClaim }
  | { readonly ask: 'check'; readonly pair: string }
  /** What is seen of a pair's folder without an arbiter: the terms, and whether there is a file of this name. */
  | { readonly ask: 'look'; readonly pair: string; readonly name: string };

/** What it says. */
export type Answer = (
  | { readonly verdict: Verdict }
  | { readonly last: TermRecord | null }
  | { readonly names: readonly string[]; readonly isThere: boolean }
  | { readonly problem: string }
  /** It has looked, and waits for a line before it links. */
  | { readonly isAtLink: true }
) & { readonly ms?: number };

import type { TermClaim, TermRecord, Verdict } from './arbiter.ts';
import type { Question } from './term-rule.ts';

/** What a FileArbiter asks its process. */
export type TermQuestion =
  | { readonly id: number; readonly ask: Question; readonly claim: TermClaim }
  | { readonly id: number; readonly ask: 'check'; readonly pair: string };

/** What it is told; `problem` is the message of an ArbiterError. */
export type TermAnswer =
  | { readonly id: number; readonly verdict: Verdict }
  | { readonly id: number; readonly last: TermRecord | null }
  | { readonly id: number; readonly problem: string };

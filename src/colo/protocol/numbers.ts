/**
 * Numbers that every message carries. Both only grow, and are exact in a number: 2^53 checkpoints at a thousand a second
 * take 285,000 years.
 */

declare const epochBrand: unique symbol;
declare const termBrand: unique symbol;

/** What lies between two checkpoints (spec B.1). Checkpoint n closes epoch n; epoch 0 is closed by the first one. */
export type Epoch = number & { readonly [epochBrand]: true };

/** A reign: in each term at most one side speaks to clients (spec B.6). An arbiter gives the next one to one side. */
export type Term = number & { readonly [termBrand]: true };

export function epoch(value: number): Epoch {
  return value as Epoch;
}

export function term(value: number): Term {
  return value as Term;
}

/** Before the first checkpoint: a standby that stands here cannot take over. */
export const noCheckpoint = epoch(-1);

/**
 * No standby takes on a higher term from who greets it: it writes it down before anything else is proven, and must be able to count
 * on from it. A pair does not get here: each term is a takeover or a switchover.
 */
export const highestTerm = term(2 ** 52);

export function next<T extends Epoch | Term>(value: T): T {
  return (value + 1) as T;
}

/**
 * How output leaves in an epoch (spec B.8). buffered: S's guest does not run, and all waits for the checkpoint. comparing: both
 * guests run, and what both say leaves at once.
 */
export type Mode = 'buffered' | 'comparing';

/** Who a side is in a pair. */
export type Role = 'primary' | 'secondary';

/** The role of who sits at the other end. */
export function peerOf(role: Role): Role {
  return role === 'primary' ? 'secondary' : 'primary';
}

import type { Moves } from '../moves.ts';

/** What a secondary is about. */
export type SecondaryPhase =
  | 'listening' // for a primary
  | 'greeting' // the primary's term is being written
  | 'seeding' // RAM and disks are copied
  | 'ready' // it has a checkpoint; P does not count on it yet
  | 'protecting'
  | 'taking-over' // P hands the guest over, in order
  | 'leaving' // it gave up its right to take over, and said so
  | 'claiming' // P is lost: consent runs out, the arbiter is asked
  | 'going-live' // nobody else has a right to the guest, which does not run here yet
  | 'live' // it is the guest's machine now
  | 'refused' // P has the next term
  | 'failed' // it cannot take over any more
  | 'ended';

export const secondaryMoves: Moves<SecondaryPhase> = {
  listening: ['greeting', 'failed', 'ended'],
  greeting: ['seeding', 'listening', 'failed', 'ended'],
  seeding: ['ready', 'listening', 'leaving', 'claiming', 'failed', 'ended'],
  ready: ['protecting', 'listening', 'leaving', 'claiming', 'failed', 'ended'],
  protecting: ['taking-over', 'claiming', 'listening', 'leaving', 'failed', 'ended'],
  'taking-over': ['going-live', 'claiming', 'protecting', 'listening', 'failed', 'ended'],
  leaving: ['listening', 'failed', 'ended'],
  claiming: ['going-live', 'refused', 'failed', 'ended'],
  'going-live': ['live', 'ended'],
  live: ['ended'],
  refused: ['ended'],
  failed: ['ended'],
  ended: [],
};

/** There is somebody at the other end who may say something. */
export function hasPeer(phase: SecondaryPhase): boolean {
  switch (phase) {
    case 'greeting':
    case 'seeding':
    case 'ready':
    case 'protecting':
    case 'taking-over':
    case 'leaving':
      return true;
    default:
      return false;
  }
}

/** Where a checkpoint is (spec A.2). */
export type SecondaryStep =
  | 'waiting' // for REQUEST
  | 'replied' // the guest is stopped; for VMSTATE_SEND
  | 'staging' // everything goes into staging, never straight into the guest
  | 'loading' // it is whole, RECEIVED is said: it becomes the guest's
  | 'committing' // RAM is loaded, the disk's checkpoint is done
  | 'starting'; // comparing: the guest is to run from it

export const secondarySteps: Moves<SecondaryStep> = {
  waiting: ['replied', 'staging'],
  replied: ['staging'],
  staging: ['loading'],
  loading: ['committing'],
  committing: ['waiting', 'starting'],
  starting: ['waiting'],
};

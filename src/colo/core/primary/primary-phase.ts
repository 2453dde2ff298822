import { refusals } from '../commands.ts';
import type { Moves } from '../moves.ts';

/** What a primary is about. */
export type PrimaryPhase =
  | 'unprotected' // the guest's output goes out; there is no standby
  | 'connecting'
  | 'greeting' // hello said
  | 'synchronising' // disks and RAM are copied, the guest runs and speaks
  | 'seeding' // the first checkpoint: output is held, S not yet counted on
  | 'protected'
  | 'ending' // protection ends in order: S is to give up its right
  | 'handing-over' // S has the last checkpoint, and is to be ready to speak
  | 'handed-over' // the guest is S's: silent for good
  | 'giving-up' // the disk here is broken: silent for good, S is to take over
  | 'waiting' // S is lost; the arbiter's yes is awaited, output held
  | 'fenced' // S, or whoever, has the next term: silent for good
  | 'ended';

export const primaryMoves: Moves<PrimaryPhase> = {
  unprotected: ['connecting', 'ended'],
  connecting: ['greeting', 'unprotected', 'ended'],
  greeting: ['synchronising', 'unprotected', 'ended'],
  synchronising: ['seeding', 'unprotected', 'ended'],
  seeding: ['protected', 'unprotected', 'ended'],
  protected: ['ending', 'handing-over', 'giving-up', 'waiting', 'unprotected', 'fenced'],
  ending: ['unprotected', 'waiting', 'fenced', 'ended'],
  'handing-over': ['handed-over', 'protected', 'ending', 'waiting', 'unprotected'],
  'handed-over': ['ended', 'waiting'],
  'giving-up': ['fenced', 'waiting'],
  waiting: ['unprotected', 'fenced', 'ended'],
  fenced: [],
  ended: [],
};

/** S is not counted on yet. */
export function isPairing(phase: PrimaryPhase): boolean {
  return phase === 'connecting' || phase === 'greeting' || phase === 'synchronising' || phase === 'seeding';
}

/** Without S this side goes on only if it may. */
export function countsOnPeer(phase: PrimaryPhase): boolean {
  return phase === 'protected' || phase === 'ending' || phase === 'handing-over' || isOver(phase);
}

/** The guest is S's, or will be: S may do what it likes, and this side says nothing more for it. */
export function isOver(phase: PrimaryPhase): boolean {
  return phase === 'handed-over' || phase === 'giving-up';
}

/** There is somebody at the other end who may say something. */
export function hasPeer(phase: PrimaryPhase): boolean {
  return countsOnPeer(phase) || (isPairing(phase) && phase !== 'connecting');
}

/** Why a primary in that phase is not protected now; undefined: it can be. */
export function refusalToProtect(phase: PrimaryPhase): string | undefined {
  switch (phase) {
    case 'unprotected':
      return undefined;
    case 'connecting':
    case 'greeting':
    case 'synchronising':
    case 'seeding':
      return refusals.protecting;
    case 'protected':
    case 'ending':
      return refusals.protectedAlready;
    case 'handing-over':
      return refusals.switching;
    case 'waiting':
      return refusals.failingOver;
    case 'handed-over':
    case 'giving-up':
    case 'fenced':
    case 'ended':
      return refusals.fenced;
    default:
      return phase satisfies never;
  }
}

/** Where a checkpoint is (spec A.2). */
export type PrimaryStep =
  | 'idle' // waiting for a reason
  | 'passing' // a live pass (spec B.3)
  | 'capturing' // REQUEST said, the guest is stopped
  | 'transmitted' // all is on its way, the guest runs
  | 'received'; // S has it; waiting for LOADED

export const primarySteps: Moves<PrimaryStep> = {
  idle: ['passing', 'capturing'],
  passing: ['passing', 'capturing'],
  capturing: ['transmitted', 'idle'],
  transmitted: ['received', 'idle'],
  received: ['idle'],
};

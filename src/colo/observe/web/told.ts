import type { ColoHeadline, ColoTopic } from '../../../vmm/monitor/colo-control.ts';

/** What the dashboard's page is told, as JSON: both sides of the network know this file, and it has nothing but types. */

/** The first word of `status`, or why there is none: the machine is in no pair, or the VMM does not answer. */
export type Word = ColoHeadline | 'NO PAIR' | 'NO ANSWER';

/** What is sampled each second. Lengths of time in ms, sizes in bytes, rates a second. */
export type Column =
  | 'at' // s since 1970
  | 'word' // which of the words, by its number
  | 'ageMs' // of the last checkpoint
  | 'checkpoints' // rate
  | 'stoppedMs' // in a second
  | 'medianMs' // stops of the last minute
  | 'worstMs'
  | 'pauseMs' // the last stop, by part
  | 'stateMs'
  | 'pagesMs'
  | 'resumeMs'
  | 'heldPackets'
  | 'heldOldestMs'
  | 'logBytes'
  | 'syncComparedBytes'
  | 'syncSentBytes'
  | 'agreed' // rate of packets that left because both guests said them
  | 'divergences' // rate
  | 'behindMs' // how much later the standby's guest said what both said, of the last packets
  | 'behindWorstMs'
  | 'arbiterMs'
  | 'silenceMs'; // since the peer's last heartbeat

/** A sample a place, in order; null: nothing could be said. */
export type Columns = Readonly<Record<Column, readonly (number | null)[]>>;

/** An event of the log. */
export interface ToldEvent {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly topic: ColoTopic;
  readonly text: string;
}

/** The answer to `/now.json`. */
export interface Told {
  /** Who tells: another process's history is another one. */
  readonly begun: number;
  /** Milliseconds since 1970 by the clock of the VMM's host. */
  readonly at: number;
  /** The same as a time of day there. */
  readonly hostTime: string;
  readonly name: string;
  readonly word: Word;
  /** Such as `PROTECTED since 14:02:11 (2 h 10 min)`. */
  readonly state: string;
  readonly place: string;
  /** Labels and texts, as `colo-vmm status` has them. */
  readonly pair: readonly (readonly [string, string])[];
  readonly machine: readonly (readonly [string, string])[];
  /** How far disks are made equal, while they are: 0 to 1, and the same in words. */
  readonly sync?: { readonly done: number; readonly text: string };
  /** Of a pair that compares: the last times that the two guests did not agree, and why probably, a line each. */
  readonly disagreements?: readonly string[];
  /** The newest first. */
  readonly events: readonly ToldEvent[];
  readonly history: {
    /** Number of the sample that comes behind the last one here: for the next question. */
    readonly next: number;
    readonly words: readonly Word[];
    readonly columns: Columns;
  };
}

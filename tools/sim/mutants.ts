import type { RecoveryTimes } from '../../src/colo/core/fencing/recovery.ts';
import { type Rules, specification } from '../../src/colo/core/rules.ts';
import { next } from '../../src/colo/protocol/numbers.ts';
import type { Mode } from './random-schedule.ts';
import { simulatedRecovery } from './simulated-settings.ts';
import { type ResyncRules, resyncRules } from './world/resync/disk-history.ts';
import type { Broken } from './world/schedule.ts';
import { type MachineRules, machineRules } from './world/side/machine-rules.ts';

/** A rule of the specification, broken. The simulation must notice. */
export interface Mutant {
  readonly name: string;
  /** The section that it breaks. */
  readonly section: string;
  readonly broken: Partial<Rules>;
  /** Of what is remembered of disks. */
  readonly resync?: Partial<ResyncRules>;
  /** Of what a machine does by itself. */
  readonly machine?: Partial<MachineRules>;
  /** Of when a standby that was given up stands by again. */
  readonly recovery?: Partial<RecoveryTimes>;
  /** Where it shows: nothing bad happens, but nothing good either. */
  readonly mode?: Mode;
  /** Where both guests run. */
  readonly compares?: boolean;
  /** Why random schedules do not reach it in 10,000: the unit tests of core/fencing do. */
  readonly rare?: string;
}

export const mutants: readonly Mutant[] = [
  {
    name: 'output is released when the checkpoint is sent, not received',
    section: 'A.2.6',
    broken: { explainedBy: 'transmitted' },
  },
  {
    name: 'output of the open epoch is released with the last one',
    section: 'B.2',
    broken: { contentAllows: (epoch, through) => epoch <= through + 1 },
  },
  { name: 'output leaves without consent in time', section: 'B.6', broken: { timeAllows: () => true } },
  {
    name: 'consent is measured from the arrival of the answer',
    section: 'B.6',
    broken: { consentEnds: (_sentAt, answeredAt, lease) => answeredAt + lease },
  },
  { name: 'output is held only once the standby is ready', section: 'B.3', broken: { holdsWhileSeeding: false } },
  {
    name: 'the primary closes before it gives up its consent',
    section: 'B.6',
    broken: { withdrawsBeforeClosing: false },
  },
  { name: 'a silent peer is never lost', section: 'B.5', broken: { isSilent: () => false } },
  {
    name: 'a standby whose answers come too late for anything to leave is counted on',
    section: 'B.5',
    broken: { isMissed: () => false },
    mode: 'liveness',
  },
  { name: 'a heartbeat vouches for one thread', section: 'B.5', broken: { mayVouch: () => true } },
  {
    name: "the secondary does not wait until the primary's consent is over",
    section: 'B.6',
    broken: { consentIsOver: () => true },
  },
  {
    name: 'the margin for clock rates is forgotten',
    rare: 'detection takes longer than the lease, so a packet must wait for its TAP for just so long',
    section: 'B.6',
    broken: { consentIsOver: (last, now, lease) => now - last >= lease * 0.97 },
  },
  { name: 'a broken network is taken for a proof', section: 'B.6', broken: { closeProvesGone: () => true } },
  {
    name: 'an answer that got lost is asked for in the next term',
    section: 'B.6',
    broken: { termToAsk: (term, asked) => (asked > 0 ? next(next(term)) : next(term)) },
  },
  { name: 'an arbiter that does not answer said yes', section: 'B.6', broken: { isYes: (answer) => answer !== 'no' } },
  { name: "the arbiter's no is not heard", section: 'B.6', broken: { isYes: (answer) => answer !== 'unknown' } },
  {
    name: 'a standby that waits to hear who goes on does not believe a primary that does',
    section: 'B.7',
    broken: { isTaken: () => false },
    mode: 'cycles',
  },
  { name: 'the term is used before it is written', section: 'B.6', broken: { mayUseTerm: () => true } },
  { name: 'the primary goes on without the arbiter', section: 'B.6', broken: { mayGoOnAlone: () => true } },
  {
    name: 'the secondary takes over without the arbiter',
    section: 'B.6',
    broken: { mayGoLive: (_granted, fenced) => fenced },
  },
  {
    name: 'the secondary takes over for a primary that does not count on it',
    section: 'A.2.1',
    broken: { mayTakeOver: (_confirmed, hasCheckpoint) => hasCheckpoint },
  },
  {
    name: 'the secondary speaks when it is asked to be ready, not when the primary is silent',
    section: 'B.6',
    broken: { mayTakeOffered: () => true },
  },
  {
    name: 'the old primary still releases after it handed the guest over',
    section: 'B.6',
    broken: { silentBeforeDone: false },
  },
  {
    name: 'a primary says that the guest is handed over while that still gets packets',
    section: 'B.15',
    broken: { mayBeDone: () => true },
  },
  {
    name: 'a primary that handed the guest over claims the term when the connection ends',
    section: 'B.6',
    broken: { doneIsFinal: false },
  },
  {
    name: 'a primary whose disk broke still releases after it gave the guest up',
    section: 'B.6',
    broken: { silentBeforeGivingUp: false },
  },
  {
    name: 'a standby is not told that the disk of its primary broke, and asks an arbiter that is not there',
    section: 'design: disks',
    broken: { givesUpInOrder: false },
    mode: 'liveness',
  },
  {
    name: 'a standby that cannot load a checkpoint closes without a word, and its primary asks an arbiter that is not there',
    section: 'B.6',
    broken: { failsInOrder: false },
    mode: 'liveness',
  },
  { name: 'frames of other terms are taken', section: 'B.6', broken: { acceptsTerm: () => true } },
  { name: 'items of any epoch are taken', section: 'B.1', broken: { admits: () => true } },
  {
    name: 'RECEIVED is said before the disk writes are there',
    section: 'A.2.5',
    broken: { isWhole: (pages, state, _disk, packets) => pages && state && packets },
  },
  {
    name: 'RECEIVED is said before the packets are there',
    section: 'B.15',
    broken: { isWhole: (pages, state, disk) => pages && state && disk },
  },
  {
    name: 'RECEIVED is said before all pages are there',
    section: 'A.2.5',
    broken: { isWhole: (_pages, _state, disk, packets) => disk && packets },
  },
  {
    name: 'the secondary goes back behind a checkpoint it received',
    section: 'B.6',
    broken: { standsAt: (loaded) => loaded },
  },
  { name: 'a load is not finished before the failover', section: 'A.2', broken: { finishesLoadFirst: false } },
  {
    name: 'the disk is committed before RAM is whole',
    section: 'A.2.7',
    broken: { commitsDisk: 'when-its-stream-ends' },
  },
  {
    name: 'the standby of a guest that has ended leaves without the disks of its last checkpoint',
    section: 'B.13',
    broken: { keepsDisksOfEnded: false },
  },
  { name: 'errors of the replicated disk are skipped', section: 'A.7', broken: { diskErrorEnds: false } },
  {
    name: 'writes of an epoch that was not committed stay on the disk',
    section: 'C.3',
    broken: { keepsWrite: () => true },
  },
  { name: 'committed writes are dropped at a takeover', section: 'C.3', broken: { keepsWrite: () => false } },
  {
    name: 'a flush is answered before the committed log is durable',
    section: 'C.3',
    broken: { mayAnswerFlush: () => true },
  },
  { name: 'the guest does not wait for room in the disk log', section: 'A.7', broken: { diskMustWait: () => false } },
  { name: 'kept output is forgotten at a takeover', section: 'B.15', broken: { sendsKept: () => false } },
  {
    name: 'output of an epoch that was not committed is sent at a takeover',
    section: 'B.15',
    broken: { sendsKept: () => true },
  },
  { name: 'kept input is forgotten at a takeover', section: 'B.15', broken: { replays: () => false } },
  {
    name: 'what came while a takeover was under way is thrown away',
    section: 'B.15',
    broken: { keepsArrivals: () => false },
  },
  { name: 'time stands still during a takeover', section: 'B.12', broken: { clockMove: () => 0 } },
  { name: 'a reset is not followed by a checkpoint', section: 'B.13', broken: { resetWantsCheckpoint: false } },
  {
    name: 'a guest whose last checkpoint takes too long goes on at the standby',
    section: 'B.13',
    broken: { endsWithoutLast: false },
    mode: 'slow-disk',
    compares: true,
  },
  // One guest, many pairs.
  {
    name: "a standby is welcome before its survivor's term is on its disk",
    section: 'B.7',
    broken: { mayWelcome: () => true },
    mode: 'cycles',
  },
  {
    name: 'what a former primary had written and nobody committed stays on its disk',
    section: 'B.7',
    broken: { equalisesDisks: false },
    mode: 'cycles',
  },
  {
    name: 'a standby takes over for a survivor that does not count on it yet',
    section: 'B.7',
    broken: { mayTakeOver: (_confirmed, hasCheckpoint) => hasCheckpoint },
    mode: 'cycles',
  },
  {
    name: 'a primary that thaws after its pair was made anew does not hear the no',
    section: 'B.6',
    broken: { isYes: (answer) => answer !== 'unknown' },
    mode: 'cycles',
  },
  {
    name: "a secondary's guest that has ended by itself is handed the clients",
    section: 'B.7',
    broken: { handsOverLiving: false },
    mode: 'cycles',
    compares: true,
  },
  {
    name: 'a secondary is ready for a guest that it has asked to be paused, and that may have ended before',
    section: 'B.7',
    broken: { mayBeReady: () => true },
    mode: 'cycles',
    compares: true,
  },
  {
    name: 'a survivor announces itself on when it is protected again',
    section: 'B.6',
    broken: {},
    machine: { endsAnnouncements: false },
    mode: 'cycles',
  },
  {
    name: 'a survivor takes every standby that asks',
    section: 'B.7',
    broken: { mayTakeStandby: () => true },
    mode: 'cycles',
  },
  {
    name: 'a primary that is greeting the standby that it dialled takes another one that asks',
    section: 'B.7',
    broken: { mayTakeStandby: (phase) => ['unprotected', 'connecting', 'greeting'].includes(phase) },
    mode: 'cycles',
  },
  ...(
    [
      ['what is written is not marked', { marksWrites: false }],
      ['marks go when the write is durable here, and not there', { mayForget: (here) => here }],
      ['marks go when the write is durable there, and not here', { mayForget: (_here, there) => there }],
      ['what the machine that died had marked is not compared', { heedsTheirs: false }],
      ['a copy that is cut off begins anew', { goesOn: false }],
      ['a copy that is cut off settles blocks for the next pairing', { endsCopies: false }],
      ['what a standby was sent and had not made durable is forgotten', { keepsUnconfirmed: false }],
    ] as const satisfies readonly (readonly [string, Partial<ResyncRules>])[]
  ).map(([name, resync]): Mutant => ({ name, section: 'B.7', broken: {}, resync, mode: 'cycles' })),
  // A host that is starved.
  ...(
    [
      ['a standby that is given up stands by again before its host is well', { leastCalmMs: 0, calmDetections: 0 }],
      ['a standby that is given up again and again does not wait', { firstWaitMs: 0 }],
      ['a standby that is given up again and again waits no longer than before', { longestWaitMs: 1000 }],
      ['a short protection makes forget how often a standby was given up', { steadyMs: 0 }],
    ] as const satisfies readonly (readonly [string, Partial<RecoveryTimes>])[]
  ).map(([name, recovery]): Mutant => ({ name, section: 'B.5', broken: {}, recovery, mode: 'overload' })),
  // A standby whose disk is slower than the guest writes.
  ...(
    [
      ['the first copy waits until the disk log is half empty', 'B.7', { copysTurn: () => false }],
      ['the guest waits until all is copied', 'B.5', { copysTurn: () => true }],
      [
        'what the standby may lay down already asks for a checkpoint, and not what waits for one',
        'A.7',
        { diskWaitsForCheckpoint: (_open, outstanding) => outstanding },
      ],
      [
        'a primary whose disk takes long to be flushed before it is copied is silent',
        'B.5',
        { preparingCounts: false },
      ],
      [
        'what a standby lays down is told with its next heartbeat, however late that is',
        'B.5',
        { tellsLaid: () => false },
      ],
      ["a standby's disk that takes nothing is waited for", 'B.5', { owesLaying: () => false }],
      ['a standby whose disk hangs is let go as one that is gone', 'B.6', { endsInOrder: false }],
    ] as const satisfies readonly (readonly [string, string, Partial<Rules>])[]
  ).map(([name, section, broken]): Mutant => ({ name, section, broken, mode: 'slow-disk' })),
  ...(
    [
      ['a standby that lays down what its guest waits for is overdue', 'B.5', { layingCounts: false }],
      ["both guests run though the standby's waits long for its disk", 'B.8', { mayCompare: () => true }],
    ] as const satisfies readonly (readonly [string, string, Partial<Rules>])[]
  ).map(([name, section, broken]): Mutant => ({ name, section, broken, mode: 'slow-disk', compares: true })),
  // Both guests run.
  {
    name: 'output of both is compared across epochs',
    section: 'B.1',
    broken: { comparable: () => true },
    compares: true,
  },
  {
    name: 'what is said again after a stop leaves before the secondary has that checkpoint',
    section: 'B.2',
    broken: { matchAllows: () => true },
    compares: true,
  },
  {
    name: "an acknowledgement is released ahead of the secondary's",
    section: 'B.2',
    broken: { mayAcknowledge: () => true },
    compares: true,
  },
  {
    name: "the primary's output is dropped where there is no room for more",
    section: 'A.5',
    broken: { overflowDropsOutput: true },
    compares: true,
  },
  {
    name: 'what only the secondary wrote stays at a checkpoint',
    section: 'A.3',
    broken: { rollsBack: false },
    compares: true,
  },
  {
    name: "a connection's offset is not reset by a checkpoint",
    section: 'A.6',
    broken: { checkpointResetsOffsets: false },
    compares: true,
    rare: 'a connection whose numbers were apart must be open across a checkpoint, and then be taken over',
  },
  {
    name: 'the secondary forgets what it said once it is found equal',
    section: 'B.15',
    broken: { confirms: () => true },
    compares: true,
  },
  {
    name: 'a guest that ran is taken back to its checkpoint at a takeover',
    section: 'B.6',
    broken: { goesOnRunning: false },
    compares: true,
  },
  {
    name: "what the secondary's guest said is not sent at a takeover",
    section: 'B.15',
    broken: { sendsOwn: false },
    compares: true,
  },
  {
    name: "the secondary's guest is started with the time of the stop",
    section: 'B.12',
    broken: { clockMove: () => 0 },
    compares: true,
  },
];

/** All that a simulation takes, with this broken. */
export function mutated({ broken, resync, machine, recovery }: Mutant): Broken {
  return {
    rules: { ...specification, ...broken },
    resyncRules: { ...resyncRules, ...resync },
    machineRules: { ...machineRules, ...machine },
    recoveryTimes: { ...simulatedRecovery, ...recovery },
  };
}

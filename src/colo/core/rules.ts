import { type Epoch, next, type Term } from '../protocol/numbers.ts';

/**
 * Every rule of the specification on which something rests, each in one place and with its section. The cores hold state and
 * order; wherever they decide, they ask here. The simulation breaks them one at a time (tools/sim/mutants.ts) and
 * must notice each.
 */
export interface Rules {
  // Output (spec B.2, B.6: content and time are rules apart, and both must hold)

  /** B.3: P's output is held from the stop of the first checkpoint on, not only once S is ready. */
  readonly holdsWhileSeeding: boolean;
  /** A.2.6: what makes an epoch's output explained: S holds the whole checkpoint, or only P has sent it. */
  readonly explainedBy: 'received' | 'transmitted';
  /** B.6, content: S owns a state that explains this epoch's output. */
  readonly contentAllows: (epoch: Epoch, through: Epoch) => boolean;
  /** B.6, time: S has not stopped counting on P yet. Asked at the very write to the network. */
  readonly timeAllows: (now: number, until: number) => boolean;
  /** B.6: consent counts from when P sent the heartbeat, by P's own clock, not from when the answer arrived. */
  readonly consentEnds: (sentAt: number, answeredAt: number, leaseMs: number) => number;
  /** B.6: P gives up all consent before it closes a connection itself: a close proves to S that P says nothing more. */
  readonly withdrawsBeforeClosing: boolean;

  // Comparing (spec A.5, B.2)

  /** Only what both guests said in the same epoch is compared: S has nothing any more of what it said before a checkpoint. */
  readonly comparable: (epoch: Epoch, peerEpoch: Epoch) => boolean;
  /**
   * B.2: what was found equal leaves only if S holds the checkpoint that its epoch began from. Until then S goes on from the epoch
   * before, in which its guest may never have said what P's says again now.
   */
  readonly matchAllows: (epoch: Epoch, through: Epoch) => boolean;
  /** B.2: P acknowledges to a client what S has acknowledged, and no more. */
  readonly mayAcknowledge: (acknowledged: number, byPeer: number) => boolean;
  /** A.5: more output than there is room for asks for a checkpoint; none of it is dropped. */
  readonly overflowDropsOutput: boolean;
  /** A.3: a checkpoint restores what S's guest wrote itself. */
  readonly rollsBack: boolean;
  /** A.6: a connection that exists at the checkpoint has P's numbers on S, too. */
  readonly checkpointResetsOffsets: boolean;
  /** B.15: S keeps what it handed over until its like has left P; that P has found them equal is not enough. */
  readonly confirms: (isMatched: boolean, hasLeft: boolean) => boolean;
  /** B.6: a guest that runs goes on where it is, for P has released what it said; it does not go back to its checkpoint. */
  readonly goesOnRunning: boolean;
  /** B.15: at a takeover S sends what its running guest said and P did not confirm. */
  readonly sendsOwn: boolean;

  // Signs of life (spec B.5)

  /** A peer that was silent so long is gone. */
  readonly isSilent: (lastHeard: number, now: number, detectMs: number) => boolean;
  /** An S that is heard, and whose every consent is over when it arrives, is as good as gone: nothing of P leaves. */
  readonly isMissed: (withoutConsentMs: number, detectMs: number) => boolean;
  /** A heartbeat vouches for the whole VMM: all threads have turned since the last one. */
  readonly mayVouch: (allTurned: boolean) => boolean;

  // Only one survivor (spec B.6)

  /** P's consent is over, by S's clock, whichever of the two clocks is the slower one. */
  readonly consentIsOver: (lastAnswered: number, now: number, leaseMs: number, clockRateError: number) => boolean;
  /** P's kernel closed the connection, or P did after giving up its consent. A broken network proves nothing. */
  readonly closeProvesGone: (by: 'peer' | 'network') => boolean;
  /** The term to ask for: always the one after the pair's, so that an answer that got lost can be asked for again. */
  readonly termToAsk: (term: Term, timesAsked: number) => Term;
  /** B.6, B.7: a standby takes on its primary's term, and is welcome once that is on its disk. */
  readonly mayWelcome: (durable: boolean) => boolean;
  /** B.7: a primary takes a standby that asks only while it has none, and nobody answers where it looks for one itself. */
  readonly mayTakeStandby: (phase: string) => boolean;
  /** Only a yes is one. */
  readonly isYes: (answer: 'yes' | 'no' | 'unknown') => boolean;
  readonly isNo: (answer: 'yes' | 'no' | 'unknown') => boolean;
  /** A primary of the pair in a later term than S's has had the yes, whoever gave it: to an S that asks that is the no. */
  readonly isTaken: (theirs: Term, ours: Term) => boolean;
  /** A term is on disk before it is used. */
  readonly mayUseTerm: (durable: boolean) => boolean;
  /** What P needs to go on without S. */
  readonly mayGoOnAlone: (granted: boolean) => boolean;
  /** What S needs to speak: the yes, and P's consent run out. */
  readonly mayGoLive: (granted: boolean, peerIsFenced: boolean) => boolean;
  /** S takes over only for a P that counts on it, and from a checkpoint. */
  readonly mayTakeOver: (confirmed: boolean, hasCheckpoint: boolean) => boolean;
  /** A switchover: S speaks when P has said that it is silent for good, not when P asked it to be ready. */
  readonly mayTakeOffered: (peerIsDone: boolean) => boolean;
  /** B.7: S's guest, which may end by itself, has not, and cannot any more, before P is told that S is ready for it. */
  readonly handsOverLiving: boolean;
  /** It cannot once it is paused, not when that was asked for: what it did until then may be on its way. */
  readonly mayBeReady: (isPaused: boolean) => boolean;
  /** A switchover: P is silent before it says so. */
  readonly silentBeforeDone: boolean;
  /** B.15: and its guest is paused, and S has been sent all that this got: what it gets after that word is lost. */
  readonly mayBeDone: (isPaused: boolean) => boolean;
  /** A P that said that it is done (a switchover), or gives up, claims nothing any more, whatever becomes of S. */
  readonly doneIsFinal: boolean;
  /** Design: disks. A P whose disk broke tells S, which asks nobody then. */
  readonly givesUpInOrder: boolean;
  /** It is silent before it does. */
  readonly silentBeforeGivingUp: boolean;
  /** Role and term are part of every message: what is of another term is refused. */
  readonly acceptsTerm: (theirs: Term, ours: Term) => boolean;

  // Epochs (spec B.1)

  /** S takes nothing of another epoch than the one that is open on this stream. */
  readonly admits: (epoch: Epoch, open: Epoch) => boolean;
  /** A.2.5: S holds all of a checkpoint: RAM, exactly the announced state, and the epoch's disk writes and packets. */
  readonly isWhole: (pages: boolean, state: boolean, disk: boolean, packets: boolean) => boolean;
  /** The checkpoint S takes over from: it never goes back behind one that it said it received. */
  readonly standsAt: (loaded: Epoch, received: Epoch) => Epoch;
  /** A.2.1, B.7: disks are made equal first; what a former primary had written and nobody committed is gone then. */
  readonly equalisesDisks: boolean;
  /** A.2, last paragraph: a load that has begun is finished before a failover runs. */
  readonly finishesLoadFirst: boolean;
  /** A.2.7: the disk's checkpoint is done when RAM is loaded, not before. */
  readonly commitsDisk: 'after-load' | 'when-its-stream-ends';
  /** B.13: S leaves a guest that has ended with the disks of its last checkpoint, though that is not loaded yet. */
  readonly keepsDisksOfEnded: boolean;
  /** A.7: an error of S's disk ends protection. */
  readonly diskErrorEnds: boolean;
  /** Writes that stay on S's disk at a takeover. */
  readonly keepsWrite: (epoch: Epoch, standsAt: Epoch) => boolean;
  /** C.3: the survivor's first flush is answered when the committed log is durable. */
  readonly mayAnswerFlush: (logIsDurable: boolean) => boolean;
  /** Design: disks. P's guest waits with its writes when S's log has no room. */
  readonly diskMustWait: (outstandingBytes: number, boundBytes: number) => boolean;
  /**
   * Design: disks. At half of S's log a checkpoint: of what only that lets S lay down. With what S may lay down already counted as well,
   * a log that stays more than half full asks once, and then the guest waits until something else does.
   */
  readonly diskWaitsForCheckpoint: (openBytes: number, outstandingBytes: number) => number;
  /** B.5: of a log that is full S owes what a checkpoint lets it lay down: the one that it stands at, if not more is in it. */
  readonly owesLaying: (loaded: Epoch, fullOf: Epoch) => boolean;
  /** B.5: before S's guest runs from a checkpoint S lays down all of it: while it does that, what it owes is not overdue. */
  readonly layingCounts: boolean;
  /**
   * B.5: S says what it has laid down before its next heartbeat, if that is much of its log, for P's guest may wait for it, or long ago:
   * P takes a disk of which it hears nothing in a step's time for one that hangs.
   */
  readonly tellsLaid: (untoldBytes: number, boundBytes: number, sinceMs: number, stepMs: number) => boolean;
  /** B.5: before the first copy P's disks are made durable, which takes as long as they do: S does not count that as P's silence. */
  readonly preparingCounts: boolean;
  /** B.8: S's guest is not to run in the next epoch while so much waits for S's disk that it would begin late. */
  readonly mayCompare: (isBehind: boolean) => boolean;
  /** B.6: an S whose disk hangs gives up its right before it is let go: it could not go on. */
  readonly endsInOrder: boolean;
  /** B.6: so does an S that cannot load a checkpoint, or whose disk fails: P, which is well, is not to wait for an arbiter's yes. */
  readonly failsInOrder: boolean;
  /** B.7: a first copy that waits for S's disk has its turn once the guest had its parts, though S's log never becomes half empty. */
  readonly copysTurn: (guestAheadBytes: number) => boolean;

  // A takeover loses no packet (spec B.15), and no time (spec B.12)

  /** Output that S sends at a takeover: what its checkpoint explains and P did not say to have left. */
  readonly sendsKept: (epoch: Epoch, standsAt: Epoch, left: Epoch) => boolean;
  /** Input that enters S's guest at a takeover: what its checkpoint does not contain. */
  readonly replays: (epoch: Epoch, standsAt: Epoch) => boolean;
  /** What came to S's TAPs since P was lost, so many ms ago, enters its guest after that: no answer of P's to it can leave without S. */
  readonly keepsArrivals: (sinceMs: number) => boolean;
  /** B.9, B.12: what the clock of a guest that goes on from a checkpoint is moved by, ms: what passed since the stop for it. */
  readonly clockMove: (stoppedAt: number, now: number) => number;
  /** B.13: a reset is followed by a checkpoint at once. */
  readonly resetWantsCheckpoint: boolean;
  /** B.13: an S that does not have the last checkpoint in time ends all the same, with the guest. */
  readonly endsWithoutLast: boolean;
}

/** A fixed part of the margin, ms: two readings of a clock in one decision. */
const marginMs = 1;

/** A packet that comes later is none that anybody still waits for. */
const longestOnTheWayMs = 30_000;

/** The rules as the specification has them. */
export const specification: Rules = {
  holdsWhileSeeding: true,
  explainedBy: 'received',
  contentAllows: (epoch, through) => epoch <= through,
  timeAllows: (now, until) => now < until,
  consentEnds: (sentAt, _answeredAt, leaseMs) => sentAt + leaseMs,
  withdrawsBeforeClosing: true,

  comparable: (epoch, peerEpoch) => epoch === peerEpoch,
  matchAllows: (epoch, through) => epoch <= through + 1,
  mayAcknowledge: (acknowledged, byPeer) => acknowledged <= byPeer,
  overflowDropsOutput: false,
  rollsBack: true,
  checkpointResetsOffsets: true,
  confirms: (_isMatched, hasLeft) => hasLeft,
  goesOnRunning: true,
  sendsOwn: true,

  isSilent: (lastHeard, now, detectMs) => now - lastHeard >= detectMs,
  isMissed: (withoutConsentMs, detectMs) => withoutConsentMs >= detectMs,
  mayVouch: (allTurned) => allTurned,

  // P's clock may be slow by the error and S's fast by it.
  consentIsOver: (lastAnswered, now, leaseMs, clockRateError) =>
    now - lastAnswered >= (leaseMs * (1 + clockRateError)) / (1 - clockRateError) + marginMs,
  closeProvesGone: (by) => by === 'peer',
  termToAsk: (term) => next(term),
  mayWelcome: (durable) => durable,
  mayTakeStandby: (phase) => phase === 'unprotected' || phase === 'connecting',
  isYes: (answer) => answer === 'yes',
  isNo: (answer) => answer === 'no',
  isTaken: (theirs, ours) => theirs > ours,
  mayUseTerm: (durable) => durable,
  mayGoOnAlone: (granted) => granted,
  mayGoLive: (granted, peerIsFenced) => granted && peerIsFenced,
  mayTakeOver: (confirmed, hasCheckpoint) => confirmed && hasCheckpoint,
  mayTakeOffered: (peerIsDone) => peerIsDone,
  handsOverLiving: true,
  mayBeReady: (isPaused) => isPaused,
  silentBeforeDone: true,
  mayBeDone: (isPaused) => isPaused,
  doneIsFinal: true,
  givesUpInOrder: true,
  silentBeforeGivingUp: true,
  acceptsTerm: (theirs, ours) => theirs === ours,

  admits: (epoch, open) => epoch === open,
  isWhole: (pages, state, disk, packets) => pages && state && disk && packets,
  standsAt: (_loaded, received) => received,
  equalisesDisks: true,
  finishesLoadFirst: true,
  commitsDisk: 'after-load',
  keepsDisksOfEnded: true,
  diskErrorEnds: true,
  keepsWrite: (epoch, standsAt) => epoch <= standsAt,
  mayAnswerFlush: (logIsDurable) => logIsDurable,
  diskMustWait: (outstandingBytes, boundBytes) => outstandingBytes >= boundBytes,
  diskWaitsForCheckpoint: (openBytes) => openBytes,
  owesLaying: (loaded, fullOf) => loaded >= fullOf,
  layingCounts: true,
  tellsLaid: (untoldBytes, boundBytes, sinceMs, stepMs) => untoldBytes * 8 >= boundBytes || sinceMs * 4 >= stepMs,
  preparingCounts: true,
  mayCompare: (isBehind) => !isBehind,
  endsInOrder: true,
  failsInOrder: true,
  copysTurn: (guestAheadBytes) => guestAheadBytes >= 0,

  sendsKept: (epoch, standsAt, left) => epoch <= standsAt && epoch > left,
  replays: (epoch, standsAt) => epoch > standsAt,
  keepsArrivals: (sinceMs) => sinceMs <= longestOnTheWayMs,
  clockMove: (stoppedAt, now) => now - stoppedAt,
  resetWantsCheckpoint: true,
  endsWithoutLast: true,
};

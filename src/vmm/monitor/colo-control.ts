/** The first word of `status`: is the guest safe? */
export type ColoHeadline =
  | 'PROTECTED' // P: S could take over
  | 'PROTECTING' // S: it could take over
  | 'PAIRING' // P and S: not yet
  | 'LISTENING' // S: nobody there to protect
  | 'UNPROTECTED' // the guest runs alone
  | 'WAITING' // the peer is lost, and nobody has said who may go on
  | 'TAKEOVER' // S: it goes on, and the guest does not run here yet
  | 'FENCED' // the other side went on
  | 'ENDED';

/** Of a figure over the last minute, or the last times, ms. */
export interface Spread {
  readonly median: number;
  readonly worst: number;
}

/** What `status` shows of a pair, as one side sees it. Times of day in ms since 1970, lengths of time in ms. */
export interface ColoStatus {
  readonly pair: string;
  readonly role: 'primary' | 'secondary';
  readonly headline: ColoHeadline;
  /** It runs the guest alone because the other side was lost, or has handed the guest over. */
  readonly survivor?: boolean;
  /**
   * Of a survivor that took over: from the last heartbeat of the other side until the guest ran here (ms), and how many packets were sent that
   * the other side may have sent before.
   */
  readonly takeover?: { readonly silenceMs: number; readonly sentAgain: number };
  readonly since: number;
  /** Of an UNPROTECTED guest, what came of the last attempt to protect it, if there was one. */
  readonly why: string;
  /** P, while UNPROTECTED or PAIRING: since when, and why, its guest has no standby. Attempts to protect it change nothing of that. */
  readonly unprotected?: { readonly since: number; readonly why: string };
  /** What to do about it, if there is something. */
  readonly next?: string;
  /** P: protection ended because something failed, here or on the standby, and has not begun again. */
  readonly failure?: string;
  readonly phase: string;
  readonly term: number;
  /** Of the checkpoints that this side makes, or would make if it took over, ms: at least so often. */
  readonly checkpointDelayMs: number;
  /** `plaintext`: by --insecure. */
  readonly link?: { readonly peer: string; readonly security: 'tls' | 'plaintext'; readonly lastHeardMsAgo?: number };
  /** Where the peer is, or is waited for. */
  readonly address: string;
  /** How output leaves now (spec B.8), and why so; P: and what the comparison found since protection began. */
  readonly mode: 'buffered' | 'comparing';
  readonly modeWhy?: string;
  /** P: connections that are treated otherwise than the mode says. `unsafe`: what they are told, nobody may know of after a failover. */
  readonly flows?: readonly { readonly port: number; readonly policy: string; readonly unsafe?: true }[];
  readonly compared?: {
    readonly released: number;
    readonly passed: number;
    readonly divergences: number;
    readonly checkpoints: number;
    /** How long the last packets that both guests said had waited for the standby's; absent: there was none yet. */
    readonly behind?: Spread;
    /** The last times that the guests did not agree, the newest first. */
    readonly recent: readonly ColoDivergence[];
  };
  readonly epoch: number;
  /** The last one that S has, and since when it has it. Of a pair that is over there is none. */
  readonly checkpoint?: {
    readonly epoch: number;
    readonly msAgo: number;
    readonly reasons?: readonly string[];
  };
  /** P: how long the guest was stopped in the last minute, and where the last stop went. */
  readonly stops?: Spread & {
    readonly count: number;
    readonly pages: number;
    readonly parts: Readonly<Record<string, number>>;
  };
  readonly held?: { readonly packets: number; readonly bytes: number; readonly oldestMs: number };
  readonly disk?: {
    readonly logBytes: number;
    /** P: the guest's writes wait, for the standby's log, or the way to it, is full. */
    readonly guestWaits?: boolean;
    /** P: for some part of the last seconds they did, for the standby's disk takes no more than that. */
    readonly slowStandby?: { readonly share: number; readonly bytesPerSecond: number };
    readonly error?: string;
    /** P: while disks are made equal. */
    readonly synchronising?: DiskCopy & { readonly secondsLeft?: number };
    /**
     * S: the same, as far as it knows, which is not how much there is to do. What it was asked about and has answered, and what it was
     * sent, of which some is what the guest wrote meanwhile.
     */
    readonly copying?: { readonly comparedBytes: number; readonly receivedBytes: number };
    /** P: since they are, what that took. */
    readonly synchronised?: DiskCopy & { readonly seconds: number };
    /** P: what would be compared if this host died now and came back, beside what the survivor writes. */
    readonly markedBytes?: number;
  };
  /** P: while the guest's RAM is first copied; what the guest writes meanwhile is left again. */
  readonly memory?: MemoryCopy;
  /** P: why where its guest writes is not written down: should its process end, all of its disks is compared. */
  readonly changesLost?: string;
  /** S: a copy of its disks that is being made. */
  readonly backup?: ColoBackup;
  /**
   * How long it would take now until the standby speaks: to notice the loss, then until consent is over, then to load the guest, which is
   * known to S alone: 0 while its guest runs beside P's.
   */
  readonly failover?: { readonly detectionMs: number; readonly consentMs: number; readonly loadMs?: number };
  readonly arbiter: {
    readonly name: string;
    /** How long its last answer took, and how long ago that was; absent: there was none. */
    readonly answeredInMs?: number;
    readonly answeredMsAgo?: number;
    /** Why the last question got no answer. */
    readonly problem?: string;
  };
  /** What only grows while this side is what it is: after a takeover it begins anew. */
  readonly totals?: {
    /** P: that were made; S: that it has received. */
    readonly checkpoints: number;
    /** P: for how long the guest was stopped for them, ms, and the pages that were sent after it. */
    readonly stoppedMs?: number;
    readonly pages?: number;
    /** P: for what, how often: one may be for several reasons. */
    readonly reasons?: Readonly<Record<string, number>>;
  };
  /** How often what programs are told of has happened in this process, whatever its role was. */
  readonly milestones?: Readonly<Partial<Record<ColoMilestone, number>>>;
}

/** A backup of a checkpoint's disks, while it is made. */
export interface ColoBackup {
  readonly path: string;
  /** The checkpoint that it is of. */
  readonly epoch: number;
  readonly totalBytes: number;
  readonly copiedBytes: number;
}

/** A backup that is made. */
export interface ColoBackupReport {
  readonly path: string;
  readonly epoch: number;
  /** Of all disks; and of these, what was not empty. */
  readonly totalBytes: number;
  readonly writtenBytes: number;
}

/** How far a guest's RAM is copied. */
export interface MemoryCopy {
  readonly totalBytes: number;
  readonly leftBytes: number;
}

/** How far disks are equal. */
export interface DiskCopy {
  /** What may differ, and what of that is settled. */
  readonly totalBytes: number;
  readonly comparedBytes: number;
  /** What was sent for that. */
  readonly sentBytes: number;
}

/** What the two guests said differently, in words for a person (spec A.5). */
export interface ColoDivergence {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Which one it was since protection began, from 1 on. */
  readonly number: number;
  /** How many of the same kind came in a row, this one the last. */
  readonly times: number;
  /** Which connection, where, which bytes. */
  readonly what: string;
  /** What usually makes two guests differ so. */
  readonly cause: string;
  /** What can be done, if there is something. */
  readonly remedy?: string;
}

/** A line of the log, for a person and for programs. */
export interface ColoEvent {
  /** Milliseconds since 1970, and by the side's monotonic clock. */
  readonly at: number;
  readonly monotonicMs: number;
  /** The first column of `colo-vmm events`. */
  readonly topic: ColoTopic;
  readonly text: string;
  /** A program is told by this word (`--on-event`); absent: the line is for people. */
  readonly event?: ColoMilestone;
}

/** What an operator wants to be told of at once. */
export type ColoMilestone =
  | 'protected' // the standby can take over; on the standby: it can
  | 'unprotected' // not any more, or not yet
  | 'peer-lost' // and nobody has said yet who goes on
  | 'failover' // the peer was lost, and the guest runs here alone
  | 'switchover' // the guest changed sides in order
  | 'fenced' // the other side goes on, or this one cannot take over any more; no guest speaks here
  | 'arbiter-lost'
  | 'arbiter-back'
  | 'disk-error';

export type ColoTopic =
  | 'pair' // who pairs with whom, and what is copied
  | 'protection' // begins, ends, and why
  | 'peer' // the connection, and silence
  | 'consent'
  | 'arbiter'
  | 'takeover'
  | 'speaking' // who is the network's guest
  | 'checkpoint'
  | 'disk'
  | 'guest'
  | 'message'; // spec A.9

/**
 * What an operator may ask of a side. `sure`: the operator is the arbiter. `stops`: nobody did, but the standby's process is about to end, or
 * the primary is to be told another standby.
 */
export type ColoCommand =
  | { readonly name: 'protect' }
  | { readonly name: 'unprotect'; readonly stops?: true }
  | { readonly name: 'checkpoint' }
  | { readonly name: 'switchover' }
  | { readonly name: 'set-checkpoint-delay'; readonly delayMs: number }
  | { readonly name: 'lost-heartbeat'; readonly sure: boolean }
  | { readonly name: 'failover'; readonly sure: boolean };

/** Why a backup is refused wherever there is no standby. */
export const backupsAreAStandbys =
  'a backup of a protected machine is made on its standby: give --control of the standby, on its host';

/** QEMU's words for who a side is, was, and why it is not any more (spec A.1). */
export interface ColoModes {
  readonly mode: 'none' | 'primary' | 'secondary';
  readonly lastMode: 'none' | 'primary' | 'secondary';
  readonly reason: 'none' | 'request' | 'error' | 'processing';
}

/** How a machine that may be protected is asked to be. Values as on the command line. */
export interface ProtectOptions {
  readonly standby: string;
  readonly listen?: string;
  readonly arbiter: string;
  /** `dir=FOLDER`; absent with `insecure`. */
  readonly tls?: string;
  readonly insecure?: boolean;
  readonly name?: string;
  readonly state?: string;
  readonly detectionMs?: number;
  readonly checkpointDelayMs?: number;
  readonly mode?: string;
  readonly flow?: readonly string[];
}

/** Fault tolerance of a machine, as its monitor sees it. */
export interface ColoControl {
  /** Absent: nobody protects this machine, nor ever did. */
  readonly modes: ColoModes;
  /** @returns why it is refused; undefined if it is not */
  command(command: ColoCommand): Promise<string | undefined>;
  /** Undefined: the machine was never in a pair. */
  status(): Promise<ColoStatus | undefined>;
  /** @param all with messages and checkpoints */
  events(all: boolean): Promise<readonly ColoEvent[]>;
  /** S: copies the last checkpoint's disks to a new folder, an absolute path. @throws Error with one sentence */
  backup(path: string): Promise<ColoBackupReport>;
  /** Begins to protect a machine that runs. @throws ConfigError, or an Error with one sentence */
  protect(options: ProtectOptions): Promise<void>;
  /** Has `listener` told of each event, and of QMP's COLO_EXIT. */
  listen(listener: ColoListener): void;
}

export interface ColoListener {
  /** @param pair of which it happened; absent: the machine is in none */
  happened(event: ColoEvent, pair: string | undefined): void;
  exited(mode: 'primary' | 'secondary', reason: string): void;
}

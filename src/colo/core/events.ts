import type { Frame } from '../protocol/frame.ts';
import type { EpochItem, Message, Packet } from '../protocol/messages.ts';
import type { Epoch, Mode, Role, Term } from '../protocol/numbers.ts';
import type { ProtocolError } from '../protocol/protocol-error.ts';

/** Alarms that a core sets, by its own side's clock. One of a name at a time. */
export type TimerName =
  | 'heartbeat' // say something, and see whether the peer did
  | 'step' // the peer's next message is overdue
  | 'checkpoint' // a checkpoint is due
  | 'disk-log' // P's guest waits for S's disk
  | 'consent' // P's consent is over
  | 'ask'; // the arbiter, or the disk that takes the term, is tried again

/** What an operator or the monitor may ask for. */
export type Command =
  | { readonly name: 'protect' }
  /** `stops`: nobody has anything against protection; S's process is about to end, or P is to be told another standby. */
  | { readonly name: 'unprotect'; readonly stops?: true }
  | { readonly name: 'checkpoint' }
  /** The roles change in order: S is to run the guest, and P's process to end. */
  | { readonly name: 'switchover' }
  | { readonly name: 'set-checkpoint-delay'; readonly delayMs: number }
  /** `x-colo-lost-heartbeat`, for both sides: the peer is lost. `sure`: the operator is the arbiter. */
  | { readonly name: 'lost-heartbeat'; readonly sure: boolean }
  /** The same from a person, whom P tells that its standby is well. */
  | { readonly name: 'failover'; readonly sure: boolean };

/** What both cores hear of. */
export type CommonEvent =
  | { readonly kind: 'command'; readonly command: Command }
  | { readonly kind: 'frame'; readonly frame: Frame }
  /** The connections are gone. `peer`: the other end closed them; `network`: they broke. */
  | { readonly kind: 'closed'; readonly by: 'peer' | 'network' }
  /** Bytes that were no frame. */
  | { readonly kind: 'peer-broke'; readonly error: ProtocolError }
  /** `turned`: every thread of this VMM has turned since the last heartbeat (spec B.5). */
  | { readonly kind: 'timer'; readonly timer: TimerName; readonly turned: boolean }
  | { readonly kind: 'arbiter'; readonly term: Term; readonly answer: ArbiterAnswer }
  | { readonly kind: 'term-written'; readonly term: Term }
  | { readonly kind: 'term-failed'; readonly term: Term }
  /** This side's disk, or the log before it, has failed; it stays so. */
  | { readonly kind: 'disk-failed'; readonly error: string }
  /** The guest powered off, or crashed for good. */
  | { readonly kind: 'guest-ended'; readonly exitCode: number };

/** `unknown`: not reached, or not answered. Whoever has had a yes for a term gets it again. */
export type ArbiterAnswer = 'yes' | 'no' | 'unknown';

export type PrimaryEvent =
  | CommonEvent
  | { readonly kind: 'connected' }
  | { readonly kind: 'connect-failed'; readonly reason: string }
  /** Both sides' disks have the same bytes, other than writes that are forwarded. */
  | { readonly kind: 'disks-in-step' }
  /** They cannot have: a sentence with the remedy. */
  | { readonly kind: 'disks-not-in-step'; readonly reason: string }
  /** What is being copied waits for the peer, which owes this; undefined: it has moved on. */
  | { readonly kind: 'copy-waits'; readonly owed: string | undefined }
  /** A live pass is on its way; `pages` were written again meanwhile. */
  | { readonly kind: 'passed'; readonly epoch: Epoch; readonly worthAnother: boolean }
  /** The guest was stopped for `stoppedMs`, and runs on in the next epoch. */
  | { readonly kind: 'captured'; readonly epoch: Epoch; readonly stateBytes: number; readonly stoppedMs: number }
  /** The open epoch has output, and had none. */
  | { readonly kind: 'output-waits' }
  /**
   * The comparison wants a checkpoint (spec A.5). `divergence`: the guests do not agree, or one has said what the other did not say in
   * time. `output`: of a connection that waits for checkpoints by policy. `backlog`: output that waits keeps P's guest from sending.
   */
  | {
      readonly kind: 'comparison-wants';
      readonly epoch: Epoch;
      readonly why: 'divergence' | 'output' | 'backlog';
      /** How long output of P has waited for S by now, ms. */
      readonly waitedMs: number;
    }
  /** Of output that waited for S, in epochs of that mode, so many packets have left since this was last told, having waited so long together. */
  | { readonly kind: 'output-waited'; readonly mode: Mode; readonly packets: number; readonly waitedMs: number }
  /** All output up to this epoch is with the network. */
  | { readonly kind: 'output-left'; readonly epoch: Epoch }
  /** The guest's writes wait, or do no more, until S has laid down what is in its log; told again when it has laid some. */
  | { readonly kind: 'disk-log-full'; readonly isFull: boolean }
  /** S's disk log is half full, as far as P knows. */
  | { readonly kind: 'disk-log-half' }
  | { readonly kind: 'guest-reset' }
  /** The guest has ended, and its machine is about to: no checkpoint is waited for any more. */
  | { readonly kind: 'end-overdue' }
  /** The guest is paused for good (effect `pause-guest`), and whatever packets it got are on their way to S. */
  | { readonly kind: 'guest-paused' };

export type SecondaryEvent =
  | CommonEvent
  /** The staged checkpoint is the guest's RAM now, its device state at hand. */
  | { readonly kind: 'loaded'; readonly epoch: Epoch }
  | { readonly kind: 'load-failed'; readonly epoch: Epoch; readonly reason: string }
  /** The first copy has moved on otherwise than by an item: P asked what is on a disk, or was told. */
  | { readonly kind: 'copy-moved' }
  /** P makes its own disks durable before they are copied, and says nothing meanwhile; `isOver`: it has said that they are. */
  | { readonly kind: 'peer-prepares'; readonly isOver: boolean }
  /** The epoch's writes belong to the disk now. */
  | { readonly kind: 'disk-committed'; readonly epoch: Epoch }
  /** The guest runs, from this checkpoint (effect `start`). */
  | { readonly kind: 'started'; readonly epoch: Epoch }
  /** The guest is paused (effect `pause-guest`). That it had ended by then was told before. */
  | { readonly kind: 'guest-paused' }
  /** While it is not known who goes on, a primary of that pair has said hello, and was turned away. */
  | { readonly kind: 'primary-called'; readonly pair: string; readonly term: Term }
  /** A takeover is done: the guest runs here (effect `resume-guest`). */
  | { readonly kind: 'guest-runs' }
  /** Half of the room that there is for its guest's own (comparing) is taken, or more; of connections, all. */
  | { readonly kind: 'own-room-half'; readonly of: OwnRoom }
  /** Bytes of committed writes laid down on the disk, since pairing. */
  | { readonly kind: 'disk-laid'; readonly bytes: number }
  | { readonly kind: 'disk-log-half' };

/**
 * Room of a guest that runs beside P's. `output`: what it said and P did not confirm. `input`: what P's guest got and it has not
 * taken. `disk`: what it wrote to disks. `connections`: those that can have P's numbers; P waits for what one that cannot would say.
 */
export type OwnRoom = 'output' | 'input' | 'disk' | 'connections';

/** What a core wants done, in this order. Nothing is done in between that the core does not know. */
export type Effect =
  // The link.
  | { readonly kind: 'connect' }
  /** `canWait`: it may go with what is sent next, or with a heartbeat, for the peer does nothing about it before. */
  | { readonly kind: 'send'; readonly message: Message; readonly term: Term; readonly canWait?: true }
  | { readonly kind: 'close' }
  // Time, by this side's clock. `at` Infinity: never mind.
  | { readonly kind: 'timer'; readonly timer: TimerName; readonly at: number }
  // Who may go on alone.
  | { readonly kind: 'ask-arbiter'; readonly term: Term; readonly byOperator: boolean }
  /** `theirs`: the guest is the other side's in that term. */
  | { readonly kind: 'write-term'; readonly term: Term; readonly theirs?: true }
  // The gate between the guest and the world (epochs/gate.ts).
  | { readonly kind: 'hold' }
  | { readonly kind: 'permit'; readonly through: Epoch; readonly until: number }
  | { readonly kind: 'open' }
  | { readonly kind: 'shut' }
  // P's machine.
  /**
   * From now on: dirty pages are tracked, writes forwarded and packets mirrored, as of epoch 0. What still waits at the gate is
   * mirrored first: it is output of epoch 0 too.
   */
  | { readonly kind: 'attach' }
  | { readonly kind: 'detach' }
  | { readonly kind: 'synchronise-disks' }
  | { readonly kind: 'live-pass'; readonly epoch: Epoch }
  /**
   * Stops, copies aside, closes the epoch on all streams and goes on: one synchronous call. In the epoch that begins, output leaves
   * as `mode` says: in a buffered one each packet is mirrored as it comes, in one that is compared those that still wait when it ends.
   */
  | { readonly kind: 'capture'; readonly epoch: Epoch; readonly mode: Mode }
  /** Encodes and sends what was copied aside. */
  | { readonly kind: 'transmit'; readonly epoch: Epoch }
  /** S does this too, and is answered by `guest-paused`. */
  | { readonly kind: 'pause-guest' }
  // S's machine.
  | { readonly kind: 'stage'; readonly item: EpochItem }
  /** Throws away what is staged, logged and kept beyond this checkpoint. */
  | { readonly kind: 'discard'; readonly beyond: Epoch }
  /** What its guest wrote itself is rolled back, and the staged pages become RAM. It does not run then. */
  | { readonly kind: 'load'; readonly epoch: Epoch }
  /**
   * Comparing: device state into the guest, offsets of connections 0, its own disk layer and what it said before forgotten; then it
   * runs, its output held and handed over as of the next epoch. Its clocks are moved by what passed since `stoppedAt`
   * (rules.clockMove), read at that moment: they are where P's are. Answered by `started`.
   */
  | { readonly kind: 'start'; readonly epoch: Epoch; readonly stoppedAt: number }
  /** Comparing: this packet enters S's guest; and those that wait for this epoch. */
  | { readonly kind: 'let-in'; readonly item: Packet }
  | { readonly kind: 'let-in-kept'; readonly epoch: Epoch }
  /** The first `items` of what S's guest said in this epoch need not be kept. */
  | { readonly kind: 'forget-own'; readonly epoch: Epoch; readonly items: number }
  /** A takeover with a guest that runs: it is stopped until `resume-guest`, and its clocks go on meanwhile. */
  | { readonly kind: 'hold-guest' }
  | { readonly kind: 'commit-disk'; readonly epoch: Epoch }
  /** What has come to S's TAPs so far P's guest got, or nobody: it is thrown away. At once, whatever else is being done. */
  | { readonly kind: 'empty-taps' }
  /** Device state into the guest. Its clock is moved by what passed since `stoppedAt` (rules.clockMove), read at that moment. */
  | { readonly kind: 'revive'; readonly epoch: Epoch; readonly stoppedAt: number }
  | { readonly kind: 'announce' }
  | { readonly kind: 'send-kept'; readonly epoch: Epoch }
  | { readonly kind: 'replay-input'; readonly epoch: Epoch }
  | { readonly kind: 'resume-guest' }
  // Whoever watches.
  | { readonly kind: 'refuse'; readonly command: Command['name']; readonly error: string }
  | { readonly kind: 'tell'; readonly notice: Notice }
  | { readonly kind: 'exit'; readonly exitCode: number }
  /** The guest is the other side's from that term on: so it is written down here. */
  | { readonly kind: 'give-away'; readonly term: Term }
  /** The same, and then the process ends. */
  | { readonly kind: 'step-down'; readonly term: Term };

/** For the log, the monitor and `status`. */
export type Notice =
  /** QEMU's COLO_EXIT (spec A.2). */
  | {
      readonly kind: 'colo-exit';
      readonly mode: Role;
      readonly reason: 'request' | 'error' | 'processing';
      readonly why: string;
    }
  | { readonly kind: 'protected'; readonly term: Term }
  | { readonly kind: 'not-protected'; readonly why: string }
  | { readonly kind: 'peer-lost'; readonly why: string }
  /** S, of a P that is lost: it releases nothing any more, for its consent ran out. Not of one that is gone for certain. */
  | { readonly kind: 'consent-over' }
  /** S: nobody else has a right to the guest, which is about to run here. `fromLoss`: for P was lost, else P hands it over. */
  | { readonly kind: 'takes-over'; readonly term: Term; readonly fromLoss: boolean }
  /** The guest runs here, alone. */
  | { readonly kind: 'survivor'; readonly role: Role; readonly term: Term }
  /** P: the guest is S's from now on. S: it is this side's, and nobody was lost. */
  | { readonly kind: 'switched-over'; readonly role: Role; readonly term: Term }
  | { readonly kind: 'fenced'; readonly why: string }
  /** The guest has ended, and S does not have its last checkpoint: S's disks, as of the last one that it has, are older than P's. */
  | { readonly kind: 'ended-behind'; readonly through: Epoch }
  /** S: it cannot take over any more, until it is started again. `wasCountedOn`: a P was protected by it. */
  | { readonly kind: 'failed'; readonly why: string; readonly wasCountedOn: boolean }
  | { readonly kind: 'checkpoint'; readonly epoch: Epoch; readonly reasons: readonly string[] }
  /** P: from this epoch on output leaves in another way (spec B.8). `forDisk`: for S's disk alone, perhaps many times a second. */
  | {
      readonly kind: 'mode';
      readonly mode: Mode;
      readonly epoch: Epoch;
      readonly why: string;
      readonly forDisk: boolean;
    };

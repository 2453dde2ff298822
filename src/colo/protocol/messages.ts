import type { MachineShape } from './machine-shape.ts';
import type { Epoch } from './numbers.ts';
import type { PortPolicy } from './port-policy.ts';

/**
 * Everything that travels between two sides. An item that belongs to an epoch names it; who sends it, and in which term,
 * stands in the frame around each (frame.ts). Which stream an item takes, who may send it and how it looks as bytes is the
 * table in message-table.ts.
 */

/**
 * This program's version of all of it. Sides of different versions refuse each other, and say why: so a frame's head, the version in a
 * hello and the reason in a refusal are what they are in all versions.
 */
export const protocolVersion = 10;

// Pairing, and its end. Stream: control.

/** P's first word: who it is and what it would need of a standby. */
export interface Hello {
  readonly kind: 'hello';
  readonly version: number;
  /** The name both sides were started with. */
  readonly pair: string;
  readonly shape: MachineShape;
  /** What must be the same on both sides, or two could speak: how soon silence counts, ms, and who says who goes on (spec B.6). */
  readonly detectMs: number;
  readonly arbiter: string;
  /** 1: both guests may run and be compared (spec B.8), for which S needs another kind of RAM; 0: S's never does. */
  readonly comparing: number;
  /** Whose output is not compared: for S to know once the guest is its own. Absent: no connection's. */
  readonly flows?: readonly PortPolicy[];
}

/** The first word of a P of another version: what else it says, nobody here can read. */
export type OtherHello = Pick<Hello, 'kind' | 'version'>;

export function isOfThisVersion(hello: Hello | OtherHello): hello is Hello {
  return hello.version === protocolVersion;
}

/** S can take over this machine. */
export interface Welcome {
  readonly kind: 'welcome';
  readonly shape: MachineShape;
}

/** Why a side will not have the other. Sentences with a remedy, for a person. */
export interface Refusal {
  readonly kind: 'refusal';
  readonly reason: string;
}

/** P counts on S from now on: without an arbiter's yes it will not go on alone. Before this, S may not take over. */
export interface Protected {
  readonly kind: 'protected';
}

/**
 * Why protection ends in order: an operator of the sender wants that, the guest has ended, the standby's process is about to, or something
 * does not work.
 */
export type EndReason = 'unprotect' | 'power-off' | 'stopped' | 'error';

/** Protection ends in order: who gets this gives up every right to take over in this term. */
export interface End {
  readonly kind: 'end';
  readonly reason: EndReason;
  /** Of the process, where the guest has ended. */
  readonly exitCode: number;
  /** What it is that does not work. Words for a person, of {@link mostReasonLength} at most. */
  readonly why?: string;
}

/** UTF-16 units of the reason that an end has, or a guest that is given up. */
export const mostReasonLength = 256;

/** The answer to `end`: it has given up. */
export interface Ended {
  readonly kind: 'ended';
}

// What the guest begins anew from when it resets (spec B.13). Stream: pages, before any page.

/** A file of it. */
export interface BootFile {
  /** As messages call it. */
  readonly name: string;
  readonly sizeBytes: number;
}

/** What is needed of a machine's kernel and initrd before their bytes come. */
export interface BootSizes {
  readonly kernel: BootFile;
  readonly initrd?: BootFile | undefined;
  readonly commandLine: string;
  readonly kaslr: boolean;
}

/** P has something to begin its guest anew from: S is to have it too. At most once; without it a reset ends the guest on both. */
export interface BootBegin extends BootSizes {
  readonly kind: 'boot-begin';
}

/** The next bytes of the kernel, or, once that is whole, of the initrd. All of them come before the first checkpoint's pages end. */
export interface BootBytes {
  readonly kind: 'boot-bytes';
  readonly data: Uint8Array;
}

/** Most bytes of both. Who has more is protected all the same, but its survivor ends when the guest resets. */
export const mostBootBytes = 1024 * 1024 * 1024;

export type BootMessage = BootBegin | BootBytes;

export function isBootMessage(message: Message): message is BootMessage {
  return message.kind === 'boot-begin' || message.kind === 'boot-bytes';
}

/** P cannot go on: it is silent for good, claims nothing any more, and S is to take over from what it has. */
export interface TakeOver {
  readonly kind: 'take-over';
  /** What is broken there. Words for a person, of {@link mostReasonLength} at most. */
  readonly why: string;
}

// Signs of life (spec B.5) and consent (spec B.6). Stream: control.

export interface Heartbeat {
  readonly kind: 'heartbeat';
  /** The sender's own clock, ms. */
  readonly clock: number;
  /** S to P: the clock of P's heartbeat that this one answers, ms. That is the consent; NaN gives none. */
  readonly echo: number;
  /** S to P: bytes of P's disk log laid down since pairing; where that becomes much, a heartbeat more says so. 0 in P's. */
  readonly laidBytes: number;
}

/**
 * Why S asks for a checkpoint. `guest`: of two guests that run, S's alone has ended or begun anew (spec B.13). The others, of such a
 * guest: half of the room is taken that there is for what it said and P did not confirm, for what it has not taken of its input, and
 * for what it wrote to disks; and of one of its connections P is told nothing.
 */
export const wantedFor = { diskLog: 0, guest: 1, output: 2, input: 3, disk: 4, connections: 5 } as const;

/** S asks for a checkpoint. */
export interface CheckpointWanted {
  readonly kind: 'checkpoint-wanted';
  /** One of {@link wantedFor}. */
  readonly why: number;
}

// The checkpoint transaction (spec A.2). Stream: control; their order is in checkpoint-order.ts.

export interface CheckpointReady {
  readonly kind: 'checkpoint-ready';
  readonly epoch: Epoch;
}
export interface CheckpointRequest {
  readonly kind: 'checkpoint-request';
  readonly epoch: Epoch;
}
export interface CheckpointReply {
  readonly kind: 'checkpoint-reply';
  readonly epoch: Epoch;
}
export interface VmstateSend {
  readonly kind: 'vmstate-send';
  readonly epoch: Epoch;
  /** 1: S's guest runs in the epoch that follows this checkpoint, and its output is compared; 0: it does not (spec B.8). */
  readonly comparing: number;
}
export interface VmstateSize {
  readonly kind: 'vmstate-size';
  readonly epoch: Epoch;
  /** Bytes of device state in this checkpoint: exactly so many, or it is an error. */
  readonly value: number;
}
export interface VmstateReceived {
  readonly kind: 'vmstate-received';
  readonly epoch: Epoch;
}
export interface VmstateLoaded {
  readonly kind: 'vmstate-loaded';
  readonly epoch: Epoch;
}

// The roles change in order. Stream: control, but for the last of it.

/** P to S: S holds the last checkpoint that this P makes, and is to have the next term on its disk. */
export interface Handover {
  readonly kind: 'handover';
  /** The checkpoint that S takes over from. */
  readonly epoch: Epoch;
}
/** S to P: it has. It may still ask the arbiter for that term, as P may: nobody has given up anything yet. */
export interface HandoverReady {
  readonly kind: 'handover-ready';
  readonly epoch: Epoch;
}
/**
 * P to S: P is silent, and never says or claims anything again in this process. From here on the guest is S's. Stream: packets, so that
 * S has all before it that P's guest got.
 */
export interface HandoverDone {
  readonly kind: 'handover-done';
  readonly epoch: Epoch;
}

// A checkpoint's content. Stream: pages.

/** Dirty pages as src/memory/page-codec.ts encodes them. */
export interface Pages {
  readonly kind: 'pages';
  readonly epoch: Epoch;
  readonly data: Uint8Array;
}
/** All pages of the epoch's checkpoint are on their way before this. */
export interface PagesEnd {
  readonly kind: 'pages-end';
  readonly epoch: Epoch;
  /** `pages` items in this epoch. */
  readonly items: number;
}
/** A piece of device state. */
export interface VmState {
  readonly kind: 'vmstate';
  readonly epoch: Epoch;
  readonly data: Uint8Array;
}

// What P's guest writes to its disks (spec A.7). Stream: disk.

export interface DiskWrite {
  readonly kind: 'disk-write';
  readonly epoch: Epoch;
  readonly disk: number;
  /** Byte offset on the disk. */
  readonly offset: number;
  readonly data: Uint8Array;
}
/** Zeros from then on. `disk-discard`: the space may be given back. */
export interface DiskErase {
  readonly kind: 'disk-discard' | 'disk-zeroes';
  readonly epoch: Epoch;
  readonly disk: number;
  readonly offset: number;
  readonly lengthBytes: number;
}
/** The epoch's last item on this stream was before this. */
export interface DiskEnd {
  readonly kind: 'disk-end';
  readonly epoch: Epoch;
  readonly items: number;
}

/** The first copy: P wants to know what S has there, after all that P sent before. Only in epoch 0. */
export interface DiskCompare {
  readonly kind: 'disk-compare';
  readonly epoch: Epoch;
  readonly disk: number;
  /** A multiple of {@link comparedBlockBytes}. */
  readonly offset: number;
  readonly lengthBytes: number;
}
/** S to P: the answer to `disk-compare`. */
export interface DiskHashes {
  readonly kind: 'disk-hashes';
  readonly epoch: Epoch;
  readonly disk: number;
  readonly offset: number;
  /** SHA-256 of each block, one after the other; zeros for a block of zeros. */
  readonly data: Uint8Array;
}

/** P wants to know what S's disks were before this pairing. Once, before any `disk-compare`; only in epoch 0. */
export interface DiskOrigin {
  readonly kind: 'disk-origin';
  readonly epoch: Epoch;
}
/** S to P: the answer. */
export interface DiskHistory {
  readonly kind: 'disk-history';
  readonly epoch: Epoch;
  /** A generation, and regions that may have been written since (disk/history/history.ts); empty: nothing certain is known. */
  readonly data: Uint8Array;
}
/** What both sides' disks are from now on, however far they are equal. S says the same when that is on its disk. */
export interface DiskGeneration {
  readonly kind: 'disk-generation';
  readonly epoch: Epoch;
  readonly data: Uint8Array;
}
/** S is to make durable what P sent before, once that is laid down. One at a time. */
export interface DiskSync {
  readonly kind: 'disk-sync';
  readonly epoch: Epoch;
}
/** S to P: it is. The epoch is that of `disk-sync`. */
export interface DiskDurable {
  readonly kind: 'disk-durable';
  readonly epoch: Epoch;
}

/** Disks are compared in blocks of this size, whose last one on a disk may be shorter. */
export const comparedBlockBytes = 64 * 1024;
/** Most bytes of a disk that one `disk-compare` asks for. */
export const mostComparedBytes = 1024 * 1024;
/** Bytes of a hash. */
export const hashBytes = 32;

// Packets (spec B.15). Stream: packets.

/**
 * `output`: P's guest sent it, P holds it; in an epoch that is compared, what is still held when it ends. `input`: it entered P's
 * guest.
 */
export interface Packet {
  readonly kind: 'output' | 'input';
  readonly epoch: Epoch;
  readonly card: number;
  readonly data: Uint8Array;
}
/**
 * S to P: S's guest sent it, in the epoch that follows the checkpoint that it was loaded from; in P's sequence numbers, as far as
 * they are known. P compares it, and S keeps it until P has confirmed it or the next checkpoint is loaded.
 */
export interface SecondaryOutput {
  readonly kind: 'secondary-output';
  readonly epoch: Epoch;
  readonly card: number;
  readonly data: Uint8Array;
}
/**
 * Of what S's guest sent in this epoch, the first `items` need not be kept by S: their like has left P, or they were the like of
 * nothing that a client waits for.
 */
export interface OutputConfirmed {
  readonly kind: 'output-confirmed';
  readonly epoch: Epoch;
  readonly items: number;
}
/** The epoch's last packet was before this. */
export interface PacketsEnd {
  readonly kind: 'packets-end';
  readonly epoch: Epoch;
  readonly items: number;
}
/** All output of epochs up to this one has left P: S need not keep it. */
export interface OutputLeft {
  readonly kind: 'output-left';
  readonly epoch: Epoch;
}

export type CheckpointMessage =
  | CheckpointReady
  | CheckpointRequest
  | CheckpointReply
  | VmstateSend
  | VmstateSize
  | VmstateReceived
  | VmstateLoaded;

export type HandoverMessage = Handover | HandoverReady | HandoverDone;

export type ControlMessage =
  | Hello
  | OtherHello
  | Welcome
  | Refusal
  | Protected
  | End
  | Ended
  | TakeOver
  | Heartbeat
  | CheckpointWanted
  | CheckpointMessage
  | HandoverMessage;

export type DiskRecord = DiskWrite | DiskErase;

/** What belongs to an epoch and travels beside the control stream. */
export type EpochItem =
  | Pages
  | PagesEnd
  | VmState
  | DiskRecord
  | DiskEnd
  | Packet
  | PacketsEnd
  | OutputLeft
  | OutputConfirmed;

/** What the two sides say about unequal disks, which concerns no core. */
export type DiskComparison = DiskQuestion | DiskAnswer;
/** From P. */
export type DiskQuestion = DiskOrigin | DiskGeneration | DiskCompare | DiskSync;
/** From S. */
export type DiskAnswer = DiskHistory | DiskGeneration | DiskHashes | DiskDurable;

const questions: ReadonlySet<string> = new Set(['disk-origin', 'disk-generation', 'disk-compare', 'disk-sync']);
const answers: ReadonlySet<string> = new Set(['disk-history', 'disk-generation', 'disk-hashes', 'disk-durable']);

export function isDiskQuestion(message: Message): message is DiskQuestion {
  return questions.has(message.kind);
}

export function isDiskAnswer(message: Message): message is DiskAnswer {
  return answers.has(message.kind);
}

export type Message = ControlMessage | BootMessage | EpochItem | SecondaryOutput | DiskComparison;

export type MessageKind = Message['kind'];

export type MessageOf<K extends MessageKind> = Extract<Message, { readonly kind: K }>;

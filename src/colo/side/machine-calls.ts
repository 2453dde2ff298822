import type { SharedChanges } from '../../block/replicated/shared-changes.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import type { CheckpointPages } from '../../memory/checkpointed-memory.ts';
import type { DeviceOrder } from '../../vmm/io/device-orders.ts';
import type { BootDescriptors } from '../../vmm/machine/machine-shape.ts';
import type { ColoBackupReport, ColoCommand, ColoEvent, ColoStatus } from '../../vmm/monitor/colo-control.ts';
import type { SharedIoControl } from '../../vmm/platform/io-control.ts';
import type { ReplayedPackets } from '../../vmm/platform/replayed-packets.ts';
import type { SharedProtection, SharedReplica } from '../../vmm/platform/shared-protection.ts';
import type { SharedVcpu } from '../../vmm/vcpu/vcpu-control.ts';
import type { InheritedChanges } from '../disk/history/primary-changes.ts';
import type { Captured, Collected, SharedCheckpoints } from '../machine/shared-checkpoints.ts';
import type { MachineShape } from '../protocol/machine-shape.ts';
import type { BootSizes } from '../protocol/messages.ts';
import type { Epoch, Role } from '../protocol/numbers.ts';
import type { LiveTranslation } from '../translate/live-translator.ts';
import type { Past } from './event-log.ts';
import type { Heritage } from './heritage.ts';

/** Of a call that gives or answers nothing. */
// biome-ignore lint/suspicious/noConfusingVoidType: a handler may end without a word
type Nothing = void;

/** What the colo thread needs of a machine, which belongs to the same process. */
export interface MachineViews {
  /** Open as long as the machine is. */
  readonly devices: readonly DeviceOrder[];
  /** Absent in a machine without devices. */
  readonly io: SharedIoControl | undefined;
}

export interface PrimaryViews extends MachineViews {
  readonly memory: SharedCheckpoints;
  readonly vcpus: readonly SharedVcpu[];
}

export interface SecondaryViews extends MachineViews {
  /** Where pages of checkpoints go. */
  readonly memory: CheckpointPages;
  /** Of a machine whose guest may run beside P's. */
  readonly replica?: ReplicaViews;
}

export interface ReplicaViews {
  readonly packets: SharedReplica;
  /** A bitmap of RAM without the hole: pages that were written where `memory` says, and that `rollBack` takes. */
  readonly changed: SharedArrayBuffer;
}

/** What the colo thread asks of the thread that owns P's machine. Each is one synchronous act there. */
export type PrimaryMachineCalls = {
  /** Pages are tracked, writes forwarded and packets mirrored from now on. */
  readonly attach: { readonly given: SharedProtection; readonly answer: PrimaryViews };
  /** Collects what changed in RAM while the guest runs; the marks are in shared memory then. Pages that are marked. */
  readonly collect: { readonly given: Nothing; readonly answer: Collected };
  /** Stops, copies aside, begins the next epoch and resumes. */
  readonly capture: { readonly given: { readonly epoch: Epoch }; readonly answer: Captured };
  /** Undoes `attach`. */
  readonly detach: { readonly given: Nothing; readonly answer: Nothing };
  /** The guest never runs here again. */
  readonly hold: { readonly given: Nothing; readonly answer: Nothing };
  /** The guest is the other side's: this process ends. */
  readonly stepDown: { readonly given: Nothing; readonly answer: Nothing };
} & CommonMachineCalls;

/** What the colo thread asks of the thread that owns S's machine. */
export type SecondaryMachineCalls = {
  /** What a machine that is made now could be. While there is none: its disks are opened. */
  readonly shape: { readonly given: Nothing; readonly answer: MachineShape };
  /** Makes a machine that can take over one of that shape. */
  readonly make: {
    readonly given: {
      readonly shape: MachineShape;
      /** Its guest may run beside P's: the doorbell that is rung when it says something. */
      readonly compares?: { readonly bell: Fd };
    };
    readonly answer: SecondaryViews;
  };
  /** Has there be room for what P's guest boots, which is the machine's once it speaks for itself. Open until it is discarded. */
  readonly keepBoot: { readonly given: BootSizes; readonly answer: BootDescriptors };
  /** The guest is stopped, if it runs. */
  readonly park: { readonly given: Nothing; readonly answer: Nothing };
  /** What the guest did is undone: RAM is the checkpoint that lies where `memory` says. */
  readonly rollBack: { readonly given: Nothing; readonly answer: Nothing };
  /**
   * Device state into the guest, which runs from there, in that epoch. Its clock is moved by what passed since `stoppedAt`, by this
   * side's clock. How long that took, ms.
   */
  readonly start: {
    readonly given: { readonly state: Uint8Array; readonly epoch: Epoch; readonly stoppedAt: number };
    readonly answer: number;
  };
  /** A guest that runs is stopped, to speak for itself when it is resumed; its clock goes on. Its exit code if it has ended. */
  readonly hold: { readonly given: Nothing; readonly answer: { readonly exitCode?: number } };
  /**
   * Its packets and disks are its own from now on; what connections of a guest that ran are translated with. How many go on with
   * numbers that are not the guest's.
   */
  readonly emerge: { readonly given: LiveTranslation | undefined; readonly answer: number };
  /** Loads a state, to see that it can be; the machine stays held. How long that took, ms. */
  readonly rehearse: { readonly given: Uint8Array; readonly answer: number };
  /** The machine is not needed any more. */
  readonly discard: { readonly given: Nothing; readonly answer: Nothing };
  /**
   * Device state into the machine, whose RAM is in place. Its clock is moved by what passed since `stoppedAt`, by this side's
   * clock. How long that took, ms; and its exit code if the guest had ended: then there is nothing to run.
   */
  readonly revive: {
    readonly given: { readonly state: Uint8Array; readonly stoppedAt: number };
    readonly answer: { readonly loadMs: number; readonly movedMs: number; readonly exitCode?: number };
  };
  /** From now on it is kept which regions of the disks change. */
  readonly keepChanges: { readonly given: SharedChanges; readonly answer: Nothing };
  readonly announce: { readonly given: Nothing; readonly answer: Nothing };
  readonly resume: { readonly given: Nothing; readonly answer: Nothing };
  /** It has taken over, and nothing is left to do for a standby: this process is the guest's primary from now on (spec B.7). */
  readonly succeed: { readonly given: { readonly heritage: Heritage; readonly past: Past }; readonly answer: Nothing };
  /** These packets enter the guest before anything new. */
  readonly replay: { readonly given: ReplayedPackets; readonly answer: Nothing };
} & CommonMachineCalls;

export type CommonMachineCalls = {
  readonly exit: { readonly given: { readonly exitCode: number }; readonly answer: Nothing };
  /** For whoever watches: the log, QMP's events. */
  readonly logged: { readonly given: ColoEvent; readonly answer: Nothing };
  readonly coloExit: { readonly given: { readonly mode: Role; readonly reason: string }; readonly answer: Nothing };
  readonly failed: { readonly given: { readonly reason: string }; readonly answer: Nothing };
};

/** What the thread that owns the machine asks of the colo thread. */
export type ColoCalls = {
  /** All packets that are recorded are in their file when this is answered, and no more are recorded. */
  readonly endRecording: { readonly given: Nothing; readonly answer: Nothing };
  /** Why it is refused; undefined if it is not. */
  readonly command: { readonly given: ColoCommand; readonly answer: string | undefined };
  /** Undefined: the side could not begin. */
  readonly status: { readonly given: Nothing; readonly answer: ColoStatus | undefined };
  /** @param all with messages and checkpoints (spec A.9) */
  readonly events: { readonly given: { readonly all: boolean }; readonly answer: readonly ColoEvent[] };
  /** What has happened so far, for the log that comes after this one. */
  readonly past: { readonly given: Nothing; readonly answer: Past };
  /** Copies the last checkpoint's disks to a new folder. */
  readonly backup: { readonly given: { readonly path: string }; readonly answer: ColoBackupReport };
  /** What is known of P's disks, for the thread that takes this one's place; undefined: nothing. */
  readonly handOverChanges: { readonly given: Nothing; readonly answer: InheritedChanges | undefined };
  readonly guestReset: { readonly given: Nothing; readonly answer: Nothing };
  readonly guestResumed: { readonly given: Nothing; readonly answer: Nothing };
  readonly guestEnded: { readonly given: { readonly exitCode: number }; readonly answer: Nothing };
  /** P's machine, whose guest has ended, waits for nothing any more but a last word to its standby. */
  readonly endOverdue: { readonly given: Nothing; readonly answer: Nothing };
  /** `counts`: while there is somebody who could go on instead, or is about to be. */
  readonly diskFailed: {
    readonly given: { readonly error: string; readonly counts: boolean };
    readonly answer: Nothing;
  };
};

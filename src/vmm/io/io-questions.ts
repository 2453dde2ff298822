import type { MessagePort } from 'node:worker_threads';
import { DiskError } from '../../block/disk-error.ts';
import type { SharedChanges } from '../../block/replicated/shared-changes.ts';
import { VmStateError } from '../../devices/vm-state-error.ts';
import type { SharedRam } from '../../memory/guest-ram.ts';
import type { ReplayedPackets } from '../platform/replayed-packets.ts';
import type { SharedProtection, SharedReplica } from '../platform/shared-protection.ts';
import { sendNumbered, takeNumbered } from '../thread/questions.ts';
import type { IoDeviceState } from './io-device-state.ts';

/** What the io thread can be asked while it is parked. */
export type IoQuestion =
  | { readonly kind: 'save' }
  /** To bring the disks' files to where the guest was told they are. */
  | { readonly kind: 'settle-disks' }
  /** Whether the devices can be loaded with these states, which were checked. They are kept for `load`. */
  | { readonly kind: 'prepare-load'; readonly states: readonly IoDeviceState[] }
  /** Loads the states that were prepared last. */
  | { readonly kind: 'load' }
  /** Has the guest tell the network where it is, when it runs. */
  | { readonly kind: 'announce' }
  /** Packets are mirrored and changes of disks forwarded from now on; and not any more. */
  | { readonly kind: 'protect'; readonly shared: SharedProtection }
  | { readonly kind: 'unprotect' }
  /** Which regions of disks change is kept from now on. */
  | { readonly kind: 'keep-changes'; readonly changes: SharedChanges }
  /** The machine is a replica from now on; what its guest wrote is forgotten; it is none any more (see IoProtection). */
  | { readonly kind: 'replicate'; readonly shared: SharedReplica }
  | { readonly kind: 'roll-back' }
  | { readonly kind: 'emerge'; readonly translation: unknown }
  /** Packets are translated from now on; and what they are translated with now. */
  | { readonly kind: 'translate'; readonly translation: unknown }
  | { readonly kind: 'translation' }
  /** These packets enter the guest before anything new. */
  | { readonly kind: 'replay'; readonly packets: ReplayedPackets }
  /** Makes the devices what they were at first. */
  | { readonly kind: 'power-cycle' }
  /** Guest memory is there from now on; `move` counts such moves. What is in flight goes on where it was. */
  | { readonly kind: 'move-memory'; readonly ram: SharedRam; readonly move: number };

/** What it says. */
export type IoAnswer =
  | { readonly kind: 'saved'; readonly states: readonly IoDeviceState[] }
  /** `strands`: requests are in flight of the guest that is gone. */
  | { readonly kind: 'power-cycled'; readonly states: readonly IoDeviceState[]; readonly strands: boolean }
  | { readonly kind: 'done' }
  | { readonly kind: 'unsettled'; readonly reason: string }
  /** Plain data; undefined: nothing is translated. */
  | { readonly kind: 'translation'; readonly translation: unknown }
  | { readonly kind: 'refused'; readonly part: string; readonly reason: string };

/** The devices as they are asked. */
export interface SavedDevices {
  save(): IoDeviceState[];
  /** What is not settled, and why. See DiskSettling. */
  settleDisks(): string | undefined;
  /** @throws VmStateError */
  prepareLoad(states: readonly IoDeviceState[]): () => void;
  announce(): void;
  protect(shared: SharedProtection): void;
  unprotect(): void;
  /** @throws DiskError */
  keepChanges(changes: SharedChanges): void;
  replicate(shared: SharedReplica): void;
  rollBack(): void;
  /** Why it cannot; undefined if it has. */
  emerge(translation: unknown): string | undefined;
  /** Why it cannot; undefined if it does. */
  translate(translation: unknown): string | undefined;
  /** What packets are translated with; undefined: they are not. */
  readonly translation: unknown;
  replay(packets: ReplayedPackets): void;
  /** True: requests of the guest that is gone are still in flight, which reach guest memory where it has been. */
  powerCycle(): boolean;
  moveMemory(ram: SharedRam, move: number): void;
}

/** Does what a disk may be in the way of. */
function unsettled(act: () => void): IoAnswer {
  try {
    act();
    return { kind: 'done' };
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    return { kind: 'unsettled', reason: error.message };
  }
}

/** Answers what comes in at `port`: a function to be called with the number of each question. */
export function answerQuestions(port: MessagePort, devices: SavedDevices): (number: number) => void {
  let prepared: (() => void) | undefined;
  const answer = (question: IoQuestion): IoAnswer => {
    switch (question.kind) {
      case 'save':
        return { kind: 'saved', states: devices.save() };
      case 'settle-disks': {
        const reason = devices.settleDisks();
        return reason === undefined ? { kind: 'done' } : { kind: 'unsettled', reason };
      }
      case 'prepare-load':
        try {
          prepared = devices.prepareLoad(question.states);
          return { kind: 'done' };
        } catch (error) {
          if (!(error instanceof VmStateError)) throw error;
          // An error's own fields would not survive the way.
          return { kind: 'refused', part: error.part, reason: error.reason };
        }
      case 'load':
        prepared?.();
        prepared = undefined;
        return { kind: 'done' };
      case 'announce':
        devices.announce();
        return { kind: 'done' };
      case 'protect':
        return unsettled(() => devices.protect(question.shared));
      case 'keep-changes':
        return unsettled(() => devices.keepChanges(question.changes));
      case 'unprotect':
        devices.unprotect();
        return { kind: 'done' };
      case 'replicate':
        devices.replicate(question.shared);
        return { kind: 'done' };
      case 'roll-back':
        devices.rollBack();
        return { kind: 'done' };
      case 'emerge': {
        const reason = devices.emerge(question.translation);
        return reason === undefined ? { kind: 'done' } : { kind: 'unsettled', reason };
      }
      case 'translate': {
        const reason = devices.translate(question.translation);
        return reason === undefined ? { kind: 'done' } : { kind: 'unsettled', reason };
      }
      case 'translation':
        return { kind: 'translation', translation: devices.translation };
      case 'replay':
        devices.replay(question.packets);
        return { kind: 'done' };
      case 'power-cycle':
        return { kind: 'power-cycled', strands: devices.powerCycle(), states: devices.save() };
      case 'move-memory':
        devices.moveMemory(question.ram, question.move);
        return { kind: 'done' };
      default:
        return question satisfies never;
    }
  };
  return (number) => {
    const question = takeNumbered(port, number);
    if (question !== undefined) sendNumbered(port, number, answer(question.body as IoQuestion));
  };
}

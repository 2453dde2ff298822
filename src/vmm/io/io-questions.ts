import type { MessagePort } from 'node:worker_threads';
import { VmStateError } from '../../devices/vm-state-error.ts';
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
  | { readonly kind: 'announce' };

/** What it says. */
export type IoAnswer =
  | { readonly kind: 'saved'; readonly states: readonly IoDeviceState[] }
  | { readonly kind: 'done' }
  | { readonly kind: 'unsettled'; readonly reason: string }
  | { readonly kind: 'refused'; readonly part: string; readonly reason: string };

/** The devices as they are asked. */
export interface SavedDevices {
  save(): IoDeviceState[];
  /** What is not settled, and why. See DiskSettling. */
  settleDisks(): string | undefined;
  /** @throws VmStateError */
  prepareLoad(states: readonly IoDeviceState[]): () => void;
  announce(): void;
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
      default:
        return question satisfies never;
    }
  };
  return (number) => {
    const question = takeNumbered(port, number);
    if (question !== undefined) sendNumbered(port, number, answer(question.body as IoQuestion));
  };
}

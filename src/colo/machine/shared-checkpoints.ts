import type { SharedRam } from '../../memory/guest-ram.ts';
import type { SharedStaging } from '../../memory/staging-area.ts';
import type { PausePart } from '../../vmm/vmstate/pause-times.ts';
import type { Epoch } from '../protocol/numbers.ts';
import type { EncodedState } from './checkpoint-state.ts';

/** What the main thread shares with the colo thread so that this one sends P's checkpoints. Goes by message as it is. */
export interface SharedCheckpoints {
  readonly ramBytes: number;
  /** Storage of bitmaps, one a region: pages to be read while the guest runs. Whoever reads a page takes its mark first. */
  readonly live: readonly SharedArrayBuffer[];
  /** First page of each region, and how many it has. */
  readonly regions: readonly { readonly firstPage: number; readonly pages: number }[];
  /** Where the pages of a capture lie. */
  readonly staging: SharedStaging;
}

/** What a live look found. */
export interface Collected {
  /** Where RAM is: a reset may move it. */
  readonly ram: SharedRam;
  /** Pages that are marked to be read live. */
  readonly marked: number;
}

/** What a capture has set aside. All of it is valid until the next one. */
export interface Captured {
  readonly epoch: Epoch;
  /** Pages in the staging area. */
  readonly pages: number;
  readonly state: EncodedState;
  /** How long the guest was stopped for it; 0 if it was paused anyway. */
  readonly stoppedMs: number;
  /** Where the time went, in ms. */
  readonly parts: Readonly<Record<PausePart, number>>;
}

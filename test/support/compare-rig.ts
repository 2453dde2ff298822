import { Comparator } from '../../src/colo/compare/comparator.ts';
import { type Divergence, divergenceText } from '../../src/colo/compare/divergence.ts';
import type { PolicyOf } from '../../src/colo/compare/flow-policy.ts';
import { type CompareSettings, defaultCompareSettings } from '../../src/colo/compare/settings.ts';

/** A comparator, and what came of it. P's packets have handles from 1 on, S's from 1001 on, in the order in which they came. */
export class CompareRig {
  readonly comparator: Comparator;
  /** In the order in which they left. */
  readonly released: number[] = [];
  readonly dropped: number[] = [];
  /** Of which packets so many bytes left before the rest. */
  readonly parts: [handle: number, bytes: number][] = [];
  /** No part may leave now. */
  keepsParts = false;
  readonly divergences: Divergence[] = [];
  epoch = 0;
  now = 0;
  #primaries = 0;
  #secondaries = 1000;

  constructor(settings: Partial<CompareSettings> = {}, policyOf: PolicyOf = () => 'compare', headerBytes: 0 | 12 = 12) {
    const outcome = {
      release: (handle: number) => {
        this.released.push(handle);
      },
      releasePart: (handle: number, bytes: number) => {
        if (!this.keepsParts) this.parts.push([handle, bytes]);
        return !this.keepsParts;
      },
      drop: (handle: number) => {
        this.dropped.push(handle);
      },
      wantCheckpoint: (divergence: Divergence) => {
        this.divergences.push(divergence);
      },
    };
    const small = { ...defaultCompareSettings, storeBytes: 1 << 20, flows: 64, ...settings };
    this.comparator = new Comparator({ settings: small, outcome, policyOf, seed: 5, headerBytes }, 0);
    this.comparator.secondaryRuns(0);
  }

  /** P's guest sends; the handle. */
  p(packet: Uint8Array, { card = 0, epoch = this.epoch } = {}): number {
    const handle = ++this.#primaries;
    // Elsewhere than at the beginning of a buffer, and it stays there.
    const { bytes, offset } = placed(packet);
    this.comparator.primary(epoch, card, bytes, offset, packet.length, handle, this.now);
    return handle;
  }

  /** S's guest sends; its bytes are gone when this returns. */
  s(packet: Uint8Array, { card = 0, epoch = this.epoch } = {}): number {
    const handle = ++this.#secondaries;
    const { bytes, offset } = placed(packet);
    this.comparator.secondary(epoch, card, bytes, offset, packet.length, handle, this.now);
    bytes.fill(0xdd);
    return handle;
  }

  /** Both send the same. */
  both(packet: Uint8Array): void {
    this.p(packet);
    this.s(packet);
  }

  /** @param runs S has loaded it, and its guest runs */
  checkpoint(runs = true): void {
    this.comparator.endEpoch(this.epoch++);
    if (runs) this.comparator.secondaryRuns(this.now);
  }

  /** Reasons of all checkpoints that were wanted. */
  get reasons(): string[] {
    return this.divergences.map(({ reason }) => reason);
  }

  get text(): string {
    return this.divergences.map(divergenceText).join('\n');
  }
}

function placed(packet: Uint8Array): { bytes: Uint8Array; offset: number } {
  const offset = 5;
  const bytes = new Uint8Array(packet.length + 16).fill(0xee);
  bytes.set(packet, offset);
  return { bytes, offset };
}

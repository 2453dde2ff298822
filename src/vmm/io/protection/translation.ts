/**
 * Gives the packets of a guest that has taken over the numbers that its clients know (spec A.6), in place. What it is, is not this
 * folder's business: whoever makes the io thread says how one is made.
 */
export interface PacketTranslation {
  /** Connections that are translated. Once there are none, nothing comes here any more. */
  readonly size: number;
  /** The guest sends a packet, at `now` ms. */
  outgoing(card: number, bytes: Uint8Array, offset: number, length: number, now: number): unknown;
  /** The guest is about to get one. */
  incoming(card: number, bytes: Uint8Array, offset: number, length: number, now: number): void;
  /** To be called about once a second. */
  scan(now: number): void;
  /** What another machine needs to go on from here, as plain data. */
  save(): unknown;
}

/** @param state as plain data, from another thread */
export type MakeTranslation = (state: unknown) => PacketTranslation;

const scanMs = 1000;

/** A translation as all cards share it, which is forgotten when nothing is translated any more. */
export class SharedTranslation {
  #translation: PacketTranslation | undefined;
  #scannedAt = Number.NEGATIVE_INFINITY;

  begin(translation: PacketTranslation | undefined): void {
    this.#translation = translation !== undefined && translation.size > 0 ? translation : undefined;
  }

  get isActive(): boolean {
    return this.#translation !== undefined;
  }

  /** See {@link PacketTranslation.save}; undefined: nothing is translated. */
  save(): unknown {
    return this.#translation?.save();
  }

  outgoing(card: number, bytes: Uint8Array, offset: number, length: number): void {
    const now = performance.now();
    this.#translation?.outgoing(card, bytes, offset, length, now);
    this.#look(now);
  }

  incoming(card: number, bytes: Uint8Array, offset: number, length: number): void {
    const now = performance.now();
    this.#translation?.incoming(card, bytes, offset, length, now);
    this.#look(now);
  }

  #look(now: number): void {
    if (now - this.#scannedAt < scanMs) return;
    this.#scannedAt = now;
    this.#translation?.scan(now);
    if (this.#translation?.size === 0) this.#translation = undefined;
  }
}

/** Bounds of the comparison (spec A.5). */
export interface CompareSettings {
  /** What has no counterpart for so long wants a checkpoint, ms. */
  readonly timeoutMs: number;
  /** The same where both sides wait for the other, of what is no stream: each has said something else, ms. */
  readonly disagreeMs: number;
  /** Connections that are known at a time. */
  readonly flows: number;
  /** Packets of one side that wait in one connection. */
  readonly packetsPerFlow: number;
  /** Bytes that S said before P did, of all connections. */
  readonly storeBytes: number;
}

export const defaultCompareSettings: CompareSettings = {
  timeoutMs: 3000,
  disagreeMs: 40,
  flows: 16_384,
  packetsPerFlow: 1024,
  storeBytes: 32 * 1024 * 1024,
};

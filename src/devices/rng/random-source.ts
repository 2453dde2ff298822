/** Where an entropy device takes its bytes from. */
export interface RandomSource {
  /** Fills [address, address + length) in this process; the bytes filled, or a negative errno. */
  fill(address: number, length: number): number;
}

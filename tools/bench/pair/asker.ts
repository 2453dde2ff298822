/** One who asks, waits for the answer before asking again, and believes nothing. */
export interface Asker {
  /** @throws Error if the answer is not the one that must come, or none will come */
  ask(): Promise<void>;
  close(): void;
}

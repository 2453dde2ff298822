import { writeSync } from 'node:fs';

/** Writes to standard error at once. That nobody reads it is no reason to fail: a closed pipe loses the text. */
export function tell(text: string): void {
  try {
    writeSync(2, text);
  } catch {
    // there is no one to tell
  }
}

import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';

let isRaw = false;

/** Writes to standard error at once. That nobody reads it is no reason to fail: a closed pipe loses the text. */
export function tell(text: string): void {
  try {
    writeSync(2, isRaw && isatty(2) ? text.replaceAll(/\r?\n/g, '\r\n') : text);
  } catch {
    // there is no one to tell
  }
}

/** Says whether the terminal is raw: then a LF alone does not begin a line. */
export function tellRaw(raw: boolean): void {
  isRaw = raw;
}

/** Without what would move a terminal's cursor: texts may have come from a peer. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ');
}

import { writeFileSync } from 'node:fs';

/**
 * Names this thread for a person: `top -H` and `ps -L` show it, and a core dump does.
 *
 * @param name 15 bytes of it are kept
 */
export function nameThread(name: string): void {
  try {
    writeFileSync('/proc/thread-self/comm', name);
  } catch {
    // A machine goes without a name where /proc is not mounted.
  }
}

import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { EAGAIN, EINTR, EPIPE } from '../errno.ts';
import { type Fd, trySend, tryWrite } from '../libc/descriptors.ts';
import type { Closable } from '../ownership.ts';
import { LogOutput, logSystem } from './log-output.ts';
import { tell } from './tell.ts';

/**
 * Writes to a descriptor of ours (standard output, say) without ever blocking.
 *
 * O_NONBLOCK belongs to the open file, which a terminal or pipe shares with other processes, so it may not simply be
 * set. Opening /proc/self/fd/N gives an open file of our own; a socket cannot be opened again, but has MSG_DONTWAIT.
 */
export class ConsoleOutput implements Closable {
  readonly #fd: number;
  readonly #own: boolean;
  readonly #socket: boolean;
  /** A regular file is never gone for good. */
  readonly #log: LogOutput | undefined;
  #closed = false;

  constructor(fd: number) {
    const stat = fstatSync(fd);
    this.#socket = stat.isSocket();
    let reopened: number | undefined;
    try {
      // A regular file never blocks, and its position must stay shared with whoever else writes there.
      if (stat.isFIFO() || stat.isCharacterDevice()) {
        reopened = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
      }
    } catch {
      // No right to open it again (a terminal of another user): then writes may block, as they do for everyone.
    }
    this.#own = reopened !== undefined;
    this.#fd = reopened ?? fd;
    this.#log = stat.isFile() ? new LogOutput(logSystem(fd)) : undefined;
  }

  /** Writes what fits now; the count. 0: nothing fits, try later. Once the reader is gone everything is dropped. */
  write(bytes: Uint8Array): number {
    if (this.#log !== undefined) return this.#log.write(bytes);
    if (this.#closed) return bytes.length;
    const count = this.#socket ? trySend(this.#fd as Fd, bytes) : tryWrite(this.#fd as Fd, bytes);
    if (count >= 0) return count;
    if (count === -EAGAIN || count === -EINTR) return 0;
    if (count !== -EPIPE) tell(`colo-vmm: the console's output is gone (errno ${-count})\n`);
    this.#closed = true;
    return bytes.length;
  }

  close(): void {
    this.#log?.close();
    if (this.#own) closeSync(this.#fd);
  }
}

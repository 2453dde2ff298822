import type { Fd } from '../libc/descriptors.ts';
import { declare } from '../libc/library.ts';

const tcgetattr = declare<[number, Uint8Array], number>('int tcgetattr(int, uint8_t *)');
const tcsetattr = declare<[number, number, Uint8Array], number>('int tcsetattr(int, int, const uint8_t *)');
const cfmakeraw = declare<[Uint8Array], void>('void cfmakeraw(uint8_t *)');
const tcgetpgrp = declare<[number], number>('int tcgetpgrp(int)');
const getpgrp = declare<[], number>('int getpgrp()');

/** More than struct termios has in any C library; nothing here looks inside. */
const settingsBytes = 256;

/** A terminal that other programs use before, after and, where a shell has job control, in between. Does not own the descriptor. */
export class Terminal {
  readonly #fd: Fd;
  #before: Uint8Array | undefined;

  constructor(fd: number) {
    this.#fd = fd as Fd;
  }

  /** Whether this process is in the terminal's foreground. A terminal without job control is everybody's. */
  get isOurs(): boolean {
    const group = tcgetpgrp(this.#fd);
    return group < 0 || group === getpgrp();
  }

  /** Whether its other end has gone. */
  get isGone(): boolean {
    return tcgetattr(this.#fd, new Uint8Array(settingsBytes)) < 0;
  }

  /**
   * Passes bytes on unchanged in both directions: Node's setRawMode leaves the terminal to put a CR before each LF, and does
   * nothing if the terminal was raw before somebody else changed it. Only in the foreground.
   */
  makeRaw(): void {
    const settings = new Uint8Array(settingsBytes);
    if (tcgetattr(this.#fd, settings) < 0) return;
    this.#before ??= settings.slice();
    cfmakeraw(settings);
    this.#set(settings);
  }

  /** As it was before it was first made raw. Only in the foreground: otherwise it is as somebody else wants it. */
  restore(): void {
    if (this.#before !== undefined) this.#set(this.#before);
  }

  #set(settings: Uint8Array): void {
    const TCSANOW = 0;
    // Fails if the terminal has gone, which its reader is told of.
    tcsetattr(this.#fd, TCSANOW, settings);
  }
}

import { Socket } from 'node:net';
import { close, createPipe, duplicate, type Fd, tryWrite } from '../libc/descriptors.ts';
import type { Closable } from '../ownership.ts';

const oneByte = new Uint8Array(1);
/** Rings that are taken together. */
const ringsRead = 4096;

/** The end of a doorbell that rings. For any thread that knows the descriptor. */
export class DoorbellButton {
  readonly #fd: Fd;

  constructor(fd: Fd) {
    this.#fd = fd;
  }

  /** A pipe that is full will be heard anyway, and one that nobody listens at any more need not be. */
  ring(): void {
    tryWrite(this.#fd, oneByte);
  }
}

/** What a doorbell is made of, for one that a thread listens at which may be terminated: whoever starts that thread keeps it. */
export interface DoorbellPipe {
  readonly listening: Fd;
  readonly button: Fd;
}

export function createDoorbellPipe(): DoorbellPipe {
  const [listening, button] = createPipe();
  return { listening, button };
}

/**
 * Wakes Node's event loop from another thread. Rings are not lost between two waits, and many rings between two are one.
 *
 * It is a pipe, which the event loop waits for as for every descriptor: of all ways to be woken the one with the fewest parts.
 */
export class Doorbell implements Closable {
  /** For {@link DoorbellButton}. */
  readonly button: Fd;
  readonly #listeningEnd: Fd;
  readonly #ownsButton: boolean;
  #socket: Socket | undefined;
  #rung = false;
  #closed = false;
  #wake: () => void = () => {};

  /** @param pipe that outlives it; default: one of its own */
  constructor(pipe?: DoorbellPipe) {
    this.#ownsButton = pipe === undefined;
    const { listening, button } = pipe ?? createDoorbellPipe();
    // A thread that is terminated closes what its event loop waits for, and nothing else.
    this.#listeningEnd = pipe === undefined ? listening : duplicate(listening);
    this.button = button;
  }

  /**
   * Resolves once there has been a ring since it last did, or since the beginning, or after `limitMs` if that is given; true
   * if there has been one. Does not keep the process alive.
   */
  async next(limitMs?: number): Promise<boolean> {
    this.#socket ??= this.#listen();
    if (!this.#rung && !this.#closed) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (limitMs !== undefined) timer = setTimeout(resolve, limitMs).unref();
      });
      clearTimeout(timer);
    }
    const rung = this.#rung;
    this.#rung = false;
    return rung;
  }

  /** Whoever waits goes on. No thread may ring any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#ownsButton) close(this.button);
    if (this.#socket === undefined) close(this.#listeningEnd);
    else this.#socket.destroy();
    this.#wake();
  }

  #listen(): Socket {
    const callback = (): boolean => {
      this.#rung = true;
      this.#wake();
      return true;
    };
    // Into a buffer of its own: for each of a stream's events Node allocates 64 KiB.
    const onread = { buffer: new Uint8Array(ringsRead), callback };
    const options = { fd: this.#listeningEnd, readable: true, writable: false, onread };
    const socket = new Socket(options);
    socket.on('error', () => {});
    socket.unref();
    return socket;
  }
}

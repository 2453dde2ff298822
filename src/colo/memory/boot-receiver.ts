import { write } from 'node:fs';
import { promisify } from 'node:util';
import type { Fd } from '../../host/libc/descriptors.ts';
import type { BootDescriptors } from '../../vmm/machine/machine-shape.ts';
import type { BootBytes, BootMessage, BootSizes } from '../protocol/messages.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';

export interface BootReceiverParts {
  /** Files that take so much: KeptBoot. */
  readonly keep: (sizes: BootSizes) => Promise<BootDescriptors>;
  /** Nothing more is taken from the primary meanwhile, of pages or of this. */
  readonly pause: (isPaused: boolean) => void;
  /** Bytes came, or were written. */
  readonly moved: () => void;
  /** What the guest boots is not all here, and never will be. */
  readonly failed: (error: Error) => void;
}

/** Beyond so much that is not written yet, P waits. */
const mostUnwrittenBytes = 4 * 1024 * 1024;

const writing = promisify(write);

/** What P's guest boots, on its way into files: on the colo thread, which waits for no disk. One for each pairing. */
export class BootReceiver {
  readonly #parts: BootReceiverParts;
  /** What the files are to have, since P said so. */
  #files: { readonly fd: Promise<Fd>; readonly sizeBytes: number }[] | undefined;
  #cameBytes = 0;
  #unwrittenBytes = 0;
  #isPaused = false;
  #isClosed = false;
  /** The first checkpoint is here, before which all of this is to come. */
  #isOver = false;
  #error: Error | undefined;
  /** Resolved once all that came is written. */
  #done: Promise<void> = Promise.resolve();

  constructor(parts: BootReceiverParts) {
    this.#parts = parts;
  }

  /** @throws ProtocolError if it is not what is to come */
  take(message: BootMessage): void {
    if (message.kind === 'boot-bytes') this.#append(message);
    else if (this.#files === undefined && !this.#isOver) this.#begin(message);
    else throw new ProtocolError('out-of-order', 'the peer sent boot-begin twice, or after its first checkpoint');
    this.#parts.moved();
  }

  /**
   * P's first checkpoint is here. Resolves once all of it is in its files, or P has none.
   *
   * @throws Error if it is not, and never will be; ProtocolError
   */
  async whole(): Promise<void> {
    this.#isOver = true;
    await this.#done;
    if (this.#error !== undefined) throw this.#error;
    const { sizeBytes } = this;
    if (this.#cameBytes < sizeBytes) {
      throw new ProtocolError(
        'out-of-order',
        `the peer sent a checkpoint after ${this.#cameBytes} of ${sizeBytes} bytes that its guest boots`,
      );
    }
  }

  /** Nothing more is written. Resolves when nothing is being written: the files may be closed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#done;
  }

  /** Of all of it, as far as P has said. */
  get sizeBytes(): number {
    return this.#files?.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) ?? 0;
  }

  #begin({ kind: _, ...sizes }: BootSizes & { readonly kind: string }): void {
    const kept = this.#parts.keep(sizes);
    const fdOf = (file: 'kernel' | 'initrd'): Promise<Fd> => kept.then((files) => (files[file] as { fd: Fd }).fd);
    this.#files = [
      { fd: fdOf('kernel'), sizeBytes: sizes.kernel.sizeBytes },
      ...(sizes.initrd === undefined ? [] : [{ fd: fdOf('initrd'), sizeBytes: sizes.initrd.sizeBytes }]),
    ];
    // Whether they are there is told below, unless nobody wants them any more.
    for (const { fd } of this.#files) fd.catch(() => {});
    this.#do(async () => void (await Promise.all((this.#files ?? []).map(({ fd }) => fd))));
  }

  #append({ data }: BootBytes): void {
    const { length } = data;
    if (length === 0 || this.#cameBytes + length > this.sizeBytes) {
      throw new ProtocolError(
        'invalid-message',
        `the peer sent ${length} bytes of what its guest boots after ${this.#cameBytes} of ${this.sizeBytes}`,
      );
    }
    const at = this.#cameBytes;
    const bytes = new Uint8Array(data);
    this.#cameBytes += length;
    this.#unwrittenBytes += length;
    this.#do(async () => {
      await this.#write(bytes, at);
      this.#unwrittenBytes -= length;
      this.#parts.moved();
      this.#letCome();
    });
    this.#letCome();
  }

  /** In the files one after the other. */
  async #write(bytes: Uint8Array, from: number): Promise<void> {
    let [at, left] = [from, bytes];
    for (const { fd, sizeBytes } of this.#files ?? []) {
      const end = Math.min(left.length, Math.max(0, sizeBytes - at));
      for (let done = 0; done < end && !this.#isClosed; ) {
        done += (await writing(await fd, left, done, end - done, at + done)).bytesWritten;
      }
      left = left.subarray(end);
      at = Math.max(0, at - sizeBytes);
    }
  }

  #letCome(): void {
    const isFull = this.#unwrittenBytes > mostUnwrittenBytes;
    if (isFull === this.#isPaused || this.#isClosed) return;
    this.#isPaused = isFull;
    this.#parts.pause(isFull);
  }

  /** After what was to be done before; of which nothing is once something has failed. */
  #do(step: () => Promise<void>): void {
    this.#done = this.#done.then(async () => {
      if (this.#isClosed || this.#error !== undefined) return;
      try {
        await step();
      } catch (error) {
        this.#error = error as Error;
        this.#parts.failed(this.#error);
      }
    });
  }
}

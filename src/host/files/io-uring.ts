import { EAGAIN, EBUSY, EINTR, EINVAL, ENOSYS, EPERM, errnoName } from '../errno.ts';
import { close, type Fd } from '../libc/descriptors.ts';
import { declare, lastErrno, libc } from '../libc/library.ts';
import { MAP_SHARED, mmap, munmap, PROT_READ, PROT_WRITE, viewMemory } from '../libc/memory.ts';
import type { IoVector } from '../mappings/io-vector.ts';
import { type Closable, Owner } from '../ownership.ts';
import { SystemError } from '../system-error.ts';
import { io_uring_params, ioUringOp } from './io-uring-abi.ts';

const SYS_io_uring_setup = 425;
const SYS_io_uring_enter = 426;
const SYS_io_uring_register = 427;

const IORING_OFF_SQ_RING = 0;
const IORING_OFF_SQES = 0x10000000;
const IORING_SETUP_CLAMP = 0x10;
const IORING_SETUP_COOP_TASKRUN = 0x100;
const IORING_SETUP_SINGLE_ISSUER = 0x1000;
const IORING_ENTER_GETEVENTS = 1;
const IORING_REGISTER_EVENTFD = 4;
const IORING_SQ_CQ_OVERFLOW = 2;
const IORING_CQ_EVENTFD_DISABLED = 1;
const IORING_FSYNC_DATASYNC = 1;

const sqeWords = 16;
const cqeWords = 4;

/** This host has no io_uring to give, or forbids it. Plain system calls do the same work. */
export class IoUringUnavailableError extends Error {
  readonly code = 'IO_URING_UNAVAILABLE';

  constructor(reason: string, options?: ErrorOptions) {
    super(`io_uring cannot be used here: ${reason}`, options);
    this.name = 'IoUringUnavailableError';
  }
}

const setupCall = declare<[number, number, Uint8Array], number>('int64_t syscall(int64_t, int64_t, uint8_t *)');
const registerCall = declare<[number, number, number, Uint8Array, number], number>(
  'int64_t syscall(int64_t, int64_t, int64_t, uint8_t *, int64_t)',
);

type EnterCall = (
  number: number,
  fd: number,
  submit: number,
  wait: number,
  flags: number,
  a: number,
  b: number,
) => number;

/**
 * A submission and a completion ring (io_uring(7)), for the thread that made it. A submission carries a token below
 * 2^31 that comes back with its result. Nothing here allocates after the constructor.
 *
 *     prepare... submit() -> the kernel -> next() true: token, result
 *
 * The event counter given to {@link IoUring.signal} counts completions, except while the thread looks itself: between
 * {@link IoUring.quiet} and {@link IoUring.listen}.
 */
export class IoUring implements Closable {
  /** Of the completion that {@link next} found. */
  token = 0;
  result = 0;
  /** Prepared and not yet taken by the kernel. */
  prepared = 0;
  readonly #owner = new Owner();
  readonly #fd: number;
  readonly #enter: EnterCall;
  readonly #ring: Int32Array;
  readonly #sqes: Uint32Array;
  readonly #sqTail: number;
  readonly #sqFlags: number;
  readonly #entries: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqFlags: number;
  readonly #cqMask: number;
  readonly #cqes: number;
  #tail = 0;
  #head = 0;

  /** @throws IoUringUnavailableError where the kernel has none, or keeps it from us */
  constructor(entries: number) {
    try {
      const params = io_uring_params.allocate();
      // Both since Linux 6.0, and older kernels will not do: they look whether the eventfd is wanted without a full
      // barrier before, so that listen() could miss a completion.
      params.flags = IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER;
      const fd = setupCall(SYS_io_uring_setup, entries, params.$bytes);
      if (fd < 0) throw setupError(lastErrno());
      this.#fd = fd;
      this.#owner.defer(() => close(fd as Fd));

      const { sq_off: sq, cq_off: cq } = params;
      const ringBytes = Math.max(sq.array + params.sq_entries * 4, cq.cqes + params.cq_entries * cqeWords * 4);
      this.#ring = new Int32Array(this.#map(fd as Fd, ringBytes, IORING_OFF_SQ_RING));
      this.#sqes = new Uint32Array(this.#map(fd as Fd, params.sq_entries * sqeWords * 4, IORING_OFF_SQES));
      this.#entries = params.sq_entries;
      this.#sqTail = sq.tail / 4;
      this.#sqFlags = sq.flags / 4;
      this.#cqHead = cq.head / 4;
      this.#cqTail = cq.tail / 4;
      this.#cqFlags = cq.flags / 4;
      this.#cqMask = params.cq_entries - 1;
      this.#cqes = cq.cqes / 4;
      for (let index = 0; index < params.sq_entries; index++) this.#ring[sq.array / 4 + index] = index;
      this.#enter = libc.func('syscall', 'int64_t', Array(7).fill('int64_t')) as unknown as EnterCall;
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** From now on completions are counted at `eventfd`. */
  signal(eventfd: Fd): void {
    const argument = new Uint8Array(new Int32Array([eventfd]).buffer);
    if (registerCall(SYS_io_uring_register, this.#fd, IORING_REGISTER_EVENTFD, argument, 1) < 0) {
      throw new SystemError('IORING_REGISTER_EVENTFD', lastErrno(), 'io_uring');
    }
  }

  /** Room for another submission before {@link submit}. */
  get full(): boolean {
    return this.prepared === this.#entries;
  }

  /** Each prepare call needs room: see {@link full}. Hot path. */
  prepareRead(fd: Fd, data: IoVector, token: number): void {
    this.#prepareVector(ioUringOp.readv, fd, data, token);
  }

  prepareWrite(fd: Fd, data: IoVector, token: number): void {
    this.#prepareVector(ioUringOp.writev, fd, data, token);
  }

  /** fdatasync. */
  prepareSync(fd: Fd, token: number): void {
    this.#prepare(ioUringOp.fsync, fd, 0, 0, 0, IORING_FSYNC_DATASYNC, token);
  }

  /** fallocate; its length stands where others have an address (io_uring_enter(2)). */
  prepareAllocate(fd: Fd, mode: number, offset: number, length: number, token: number): void {
    this.#prepare(ioUringOp.fallocate, fd, offset, length, mode, 0, token);
  }

  /**
   * Gives what was prepared to the kernel in one system call. False: it cannot take all of it now; take completions
   * first. Hot path.
   */
  submit(): boolean {
    Atomics.store(this.#ring, this.#sqTail, this.#tail);
    while (this.prepared > 0) {
      const count = this.#enter(SYS_io_uring_enter, this.#fd, this.prepared, 0, 0, 0, 0);
      if (count >= 0) {
        this.prepared -= count;
        continue;
      }
      const errno = lastErrno();
      if (errno === EINTR) continue;
      if (errno === EAGAIN || errno === EBUSY) return false;
      throw new SystemError('io_uring_enter', errno, 'the submission ring');
    }
    return true;
  }

  /** Waits until there is a completion. */
  wait(): void {
    this.#enter(SYS_io_uring_enter, this.#fd, 0, 1, IORING_ENTER_GETEVENTS, 0, 0);
  }

  /** Takes a completion: {@link token} and {@link result}. False if there is none. Hot path. */
  next(): boolean {
    if (this.#head === Atomics.load(this.#ring, this.#cqTail)) {
      // Completions that found no room in the ring are kept by the kernel, until asked for.
      if ((Atomics.load(this.#ring, this.#sqFlags) & IORING_SQ_CQ_OVERFLOW) === 0) return false;
      this.#enter(SYS_io_uring_enter, this.#fd, 0, 0, IORING_ENTER_GETEVENTS, 0, 0);
      if (this.#head === Atomics.load(this.#ring, this.#cqTail)) return false;
    }
    const at = this.#cqes + (this.#head & this.#cqMask) * cqeWords;
    this.token = this.#ring[at] as number;
    this.result = this.#ring[at + 2] as number;
    this.#head = (this.#head + 1) | 0;
    Atomics.store(this.#ring, this.#cqHead, this.#head);
    return true;
  }

  /** Completions are not counted at the eventfd until {@link listen}: this thread is going to look for them. */
  quiet(): void {
    Atomics.store(this.#ring, this.#cqFlags, IORING_CQ_EVENTFD_DISABLED);
  }

  /** Completions are counted again. True if there are some already, perhaps uncounted. */
  listen(): boolean {
    Atomics.store(this.#ring, this.#cqFlags, 0);
    return this.#head !== Atomics.load(this.#ring, this.#cqTail);
  }

  /** Nothing may be in flight: the kernel would go on writing to memory. */
  close(): void {
    this.#owner.close();
  }

  #prepareVector(opcode: number, fd: Fd, data: IoVector, token: number): void {
    const { address, offset } = data;
    const sqes = this.#sqes;
    const at = (this.#tail & (this.#entries - 1)) * sqeWords;
    sqes[at] = opcode;
    sqes[at + 1] = fd;
    sqes[at + 2] = offset; // stored modulo 2^32
    sqes[at + 3] = Math.floor(offset / 0x1_0000_0000);
    sqes[at + 4] = address;
    sqes[at + 5] = Math.floor(address / 0x1_0000_0000);
    sqes[at + 6] = data.count;
    sqes[at + 7] = 0;
    sqes[at + 8] = token;
    this.#tail = (this.#tail + 1) | 0;
    this.prepared++;
  }

  /** As {@link #prepareVector}, where time does not count. */
  #prepare(
    opcode: number,
    fd: Fd,
    offset: number,
    address: number,
    length: number,
    flags: number,
    token: number,
  ): void {
    const sqes = this.#sqes;
    const at = (this.#tail & (this.#entries - 1)) * sqeWords;
    sqes[at] = opcode;
    sqes[at + 1] = fd;
    sqes[at + 2] = offset; // stored modulo 2^32
    sqes[at + 3] = Math.floor(offset / 0x1_0000_0000);
    sqes[at + 4] = address;
    sqes[at + 5] = Math.floor(address / 0x1_0000_0000);
    sqes[at + 6] = length;
    sqes[at + 7] = flags;
    sqes[at + 8] = token;
    this.#tail = (this.#tail + 1) | 0;
    this.prepared++;
  }

  #map(fd: Fd, length: number, offset: number): ArrayBuffer {
    const address = mmap(length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset, 'io_uring');
    this.#owner.defer(() => munmap(address, length));
    return viewMemory(address, length);
  }
}

function setupError(errno: number): Error {
  const cause = new SystemError('io_uring_setup', errno, 'a new ring');
  if (errno === ENOSYS) return new IoUringUnavailableError('the kernel has none', { cause });
  if (errno === EPERM) {
    return new IoUringUnavailableError('it is forbidden (sysctl kernel.io_uring_disabled, or a sandbox)', { cause });
  }
  if (errno === EINVAL) return new IoUringUnavailableError('the kernel is older than Linux 6.0', { cause });
  return new IoUringUnavailableError(`io_uring_setup gave ${errnoName(errno)}`, { cause });
}

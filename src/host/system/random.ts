import { EINTR } from '../errno.ts';
import { declare, lastErrno } from '../libc/library.ts';
import { SystemError } from '../system-error.ts';

const getrandomCall = declare<[number, number, number], number>('int64_t getrandom(int64_t, size_t, unsigned int)');
const getrandomInto = declare<[Uint8Array, number, number], number>(
  'int64_t getrandom(uint8_t *, size_t, unsigned int)',
);

/** The kernel's random generator (getrandom(2)). */
export const kernelRandom = {
  /** Fills [address, address + length); the bytes filled, or the negative errno. */
  fill(address: number, length: number): number {
    let filled = 0;
    while (filled < length) {
      const count = tryGetrandom(address + filled, length - filled);
      if (count > 0) filled += count;
      // A signal ends long requests early.
      else if (count !== -EINTR) return filled > 0 ? filled : count;
    }
    return filled;
  },
};

/** As getrandom(2), once: the bytes filled, or the negative errno. */
function tryGetrandom(address: number, length: number): number {
  const count = getrandomCall(address, length, 0);
  return count < 0 ? -lastErrno() : count;
}

/** Fills an array of at most 256 bytes, which getrandom(2) gives whole. @throws SystemError */
export function fillFromKernel(bytes: Uint8Array): void {
  if (getrandomInto(bytes, bytes.length, 0) !== bytes.length) {
    throw new SystemError('getrandom', lastErrno(), `${bytes.length} bytes`);
  }
}

import { EINTR } from './errno.ts';
import { tryGetrandom } from './libc.ts';

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

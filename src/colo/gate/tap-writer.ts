import { EAGAIN, EINTR } from '../../host/errno.ts';
import { type Fd, tryRead, tryWrite } from '../../host/libc/descriptors.ts';
import type { DeviceOrder } from '../../vmm/io/device-orders.ts';

/** `full`: not now. `lost`: it will never be taken, as by a network that loses packets. */
export type Written = 'sent' | 'full' | 'lost';

/** Descriptors of the TAPs among a machine's devices, in the order of its cards. */
export function tapsOf(orders: readonly DeviceOrder[]): Fd[] {
  return orders.flatMap(({ device }) => (device.kind === 'net' ? [device.tap] : []));
}

/** The TAPs of a machine's cards, by the cards' numbers. Owns no descriptor. */
export class TapWriter {
  /** Packets that a TAP would not have. */
  lost = 0;
  readonly #taps: readonly Fd[];

  constructor(taps: readonly Fd[]) {
    this.#taps = taps;
  }

  /** Hot path. */
  write(card: number, packet: Uint8Array): Written {
    const fd = this.#taps[card];
    if (fd === undefined) return this.#lose();
    for (;;) {
      const result = tryWrite(fd, packet);
      if (result >= 0) return 'sent';
      if (result === -EAGAIN) return 'full';
      // Removed, down, or a header that the kernel finds wrong.
      if (result !== -EINTR) return this.#lose();
    }
  }

  /** Throws away what has piled up in all TAPs; at most `most` packets. */
  drain(most: number): void {
    const packet = new Uint8Array(longestRead);
    for (const fd of this.#taps) {
      for (let count = 0; count < most; count++) if (tryRead(fd, packet) < 0) break;
    }
  }

  #lose(): Written {
    this.lost++;
    return 'lost';
  }
}

/** A packet with its header; what is longer is thrown away all the same. */
const longestRead = 128 * 1024;

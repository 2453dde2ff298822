import type { DeviceHost } from '../virtio/virtio-device.ts';
import type { Virtqueue } from '../virtio/virtqueue.ts';

/** The driver is shown packets after so many of them, or so many bytes, and at the end of a turn. */
const showPackets = 16;
const showBytes = 65_536;
/** It is interrupted when there is no more to be had, or after so many turns: on a busy host it runs in our place. */
const turnsToInterrupt = 4;

/** When a driver is shown the packets that it got, and when it is interrupted for them. */
export class PacketNotices {
  readonly #queue: Pick<Virtqueue, 'publish'>;
  readonly #host: Pick<DeviceHost, 'interruptQueue'>;
  #unseenPackets = 0;
  #unseenBytes = 0;
  /** The driver waits for something that it was shown. */
  #interruptWanted = false;
  /** Turns since it was last interrupted. */
  #turns = 0;

  constructor(queue: Pick<Virtqueue, 'publish'>, host: Pick<DeviceHost, 'interruptQueue'>) {
    this.#queue = queue;
    this.#host = host;
  }

  /** The driver got a packet. Hot path. */
  add(bytes: number): void {
    this.#unseenPackets++;
    this.#unseenBytes += bytes;
    if (this.#unseenPackets >= showPackets || this.#unseenBytes >= showBytes) this.#show();
  }

  /** A turn ends, and there is more to be had. Hot path. */
  endTurn(): void {
    if (++this.#turns < turnsToInterrupt) this.#show();
    else this.publish();
  }

  /** Shows the driver all there is, and interrupts it if it waits for any of that. Hot path. */
  publish(): void {
    this.#show();
    this.#turns = 0;
    if (!this.#interruptWanted) return;
    this.#interruptWanted = false;
    this.#host.interruptQueue();
  }

  /** A driver that is looking already goes on with what it is shown. */
  #show(): void {
    this.#unseenPackets = 0;
    this.#unseenBytes = 0;
    if (this.#queue.publish()) this.#interruptWanted = true;
  }
}

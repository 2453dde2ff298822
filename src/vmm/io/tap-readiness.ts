import type { NetDevice } from '../../devices/net/net-device.ts';
import { EPOLLERR } from '../../host/events/epoll.ts';
import type { ReadyHandler } from '../../host/events/event-loop.ts';

/** What a TAP's descriptor tells: packets, room for packets, or that the TAP is gone. */
export class TapReadiness implements ReadyHandler {
  readonly #device: NetDevice;
  readonly #gone: () => void;
  #isGone = false;

  constructor(device: NetDevice, gone: () => void) {
    this.#device = device;
    this.#gone = gone;
  }

  /** The card is plugged in here, whatever it was where its state was saved, and its driver is to say so. */
  announce(): void {
    if (this.#isGone) return;
    this.#device.setLink(true);
    this.#device.announce();
  }

  /** Hot path. */
  ready(events: number): void {
    if ((events & EPOLLERR) === 0) this.#device.portReady();
    else if (!this.#isGone) {
      this.#isGone = true;
      this.#device.setLink(false);
      this.#gone();
    }
  }
}

import { cell, mmioState } from '../../devices/virtio/mmio-state.ts';
import { VirtioTransport } from '../../devices/virtio/virtio-transport.ts';
import { EPOLLET, EPOLLIN } from '../../host/events/epoll.ts';
import { InterruptEdge } from '../../host/kvm/interrupt-edge.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { Handshake } from '../../host/threads/handshake.ts';
import { DeviceNews } from './device-news.ts';
import type { DeviceOrder } from './device-orders.ts';
import { type IoSurroundings, type MadeDevice, makeDevice } from './made-device.ts';

/** One device with its transport, and everything of it that the event loop watches. */
export class IoSlot implements Closable {
  readonly transport: VirtioTransport;
  readonly #handshake: Handshake;
  readonly #made: MadeDevice;
  readonly #owner = new Owner();

  constructor(order: DeviceOrder, surroundings: IoSurroundings) {
    const { memory, loop } = surroundings;
    const { shape, state: storage, kicks } = order.virtio;
    const state = mmioState(shape, storage);
    const news = new DeviceNews(order.name, surroundings.report);
    this.#handshake = new Handshake(state.cells, cell.asked, cell.answered);
    try {
      let made!: MadeDevice;
      const transport = new VirtioTransport({
        memory,
        state,
        shape,
        interrupt: this.#owner.own(new InterruptEdge(order.interrupt)),
        onFail: (reason) => news.broken(reason),
        device: (host) => {
          made = makeDevice({ order, state, host, owner: this.#owner, news }, surroundings);
          return made.device;
        },
      });
      this.transport = this.#owner.own(transport);
      this.#made = made;
      kicks.forEach((kick, queue) => {
        this.#owner.own(loop.watch(kick, EPOLLIN | EPOLLET, { ready: () => transport.kicked(queue) }));
      });
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  powerCycle(): boolean {
    const { question } = this.#handshake;
    const strands = this.transport.powerCycle();
    this.#made.restart?.();
    // A vCPU may be waiting for what its guest wanted of the device.
    if (question !== undefined) this.#handshake.answer(question);
    return strands;
  }

  settle(): void {
    const { question } = this.#handshake;
    if (question !== undefined && this.transport.settle()) this.#handshake.answer(question);
  }

  announce(): void {
    this.#made.announce?.();
  }

  /** Requests of a disk that are in flight and no reads. */
  get changesInFlight(): number {
    return this.#made.changesInFlight?.() ?? 0;
  }

  get hasMore(): boolean {
    return this.#made.takesTurns?.hasMore ?? false;
  }

  takeTurn(): void {
    if (this.hasMore) this.#made.takesTurns?.turn();
  }

  close(): void {
    this.#owner.close();
  }
}

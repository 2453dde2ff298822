import type { Fd } from '../libc/descriptors.ts';
import type { Closable } from '../ownership.ts';
import { Epoll } from './epoll.ts';

/** Told when a descriptor is ready. Must not block. */
export interface ReadyHandler {
  ready(events: number): void;
}

/** A descriptor in an event loop. */
export interface Watch extends Closable {
  /** Waits for other events from now on. */
  change(events: number): void;
}

/**
 * Waits for descriptors and calls their handlers, turn by turn, on the thread that runs it. Nothing is allocated in a
 * turn.
 */
export class EventLoop implements Closable {
  readonly #epoll = new Epoll();
  /** By token; undefined where a watch has been closed. */
  readonly #handlers: (ReadyHandler | undefined)[] = [];
  readonly #visit = (token: number, events: number): void => this.#handlers[token]?.ready(events);

  /** `events`: {@link EPOLLIN} and the like. With EPOLLET an eventfd need not be read to be quiet. */
  watch(fd: Fd, events: number, handler: ReadyHandler): Watch {
    const token = this.#handlers.push(handler) - 1;
    this.#epoll.add(fd, events, token);
    return {
      change: (changed) => this.#epoll.modify(fd, changed, token),
      close: () => {
        if (this.#handlers[token] === undefined) return;
        // An event of this descriptor may be among those that this turn has yet to visit.
        this.#handlers[token] = undefined;
        this.#epoll.remove(fd);
      },
    };
  }

  /** Waits up to `timeoutMs` (-1: for ever) for events and has them handled; how many there were. */
  turn(timeoutMs: number): number {
    return this.#epoll.wait(timeoutMs, this.#visit);
  }

  close(): void {
    this.#epoll.close();
  }
}

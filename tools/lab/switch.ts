import { goodLink, type LinkCondition } from './network.ts';

/** Where a frame goes, and when. */
export interface Delivery {
  readonly port: number;
  /** On the clock the switch was given. */
  readonly atMs: number;
}

interface Link {
  condition: LinkCondition;
  /** When the line is free for the next frame. */
  freeAtMs: number;
  /** When the last frame arrives: a later one never overtakes it. */
  lastAtMs: number;
}

const macBytes = 6;
/** Longer than this nothing waits: a real port's buffer is full by then. */
const longestQueueMs = 500;

/**
 * An Ethernet switch that learns, with a condition on each way from port to port. It decides only: the clock, chance
 * and the sockets are its caller's.
 */
export class Switch {
  readonly #ports: number;
  readonly #random: () => number;
  readonly #links = new Map<string, Link>();
  readonly #portOfMac = new Map<string, number>();
  #watched: { readonly mac: string; port: number | undefined } | undefined;

  constructor(ports: number, random: () => number) {
    this.#ports = ports;
    this.#random = random;
  }

  /** Watches who speaks as `mac`, written as `02:00:00:00:00:01`; nobody has yet. */
  watch(mac: string): void {
    this.#watched = { mac: Buffer.from(mac.replaceAll(':', ''), 'hex').toString('latin1'), port: undefined };
  }

  /** True if `frame`, which came in at `port`, is the watched address speaking at another port than before. */
  isNewSpeaker(port: number, frame: Uint8Array): boolean {
    const watched = this.#watched;
    if (watched === undefined || watched.port === port || frame.length < 2 * macBytes) return false;
    if (macAt(frame, macBytes) !== watched.mac) return false;
    watched.port = port;
    return true;
  }

  setCondition(from: number, to: number, condition: LinkCondition): void {
    this.#link(from, to).condition = condition;
  }

  #link(from: number, to: number): Link {
    const key = `${from}>${to}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      link = { condition: goodLink, freeAtMs: 0, lastAtMs: 0 };
      this.#links.set(key, link);
    }
    return link;
  }

  /** Where `frame`, which came in at `port`, goes. */
  forward(port: number, frame: Uint8Array, nowMs: number): Delivery[] {
    if (frame.length < 2 * macBytes) return [];
    const destination = macAt(frame, 0);
    this.#portOfMac.set(macAt(frame, macBytes), port);
    const isGroup = ((frame[0] ?? 0) & 1) === 1;
    const known = isGroup ? undefined : this.#portOfMac.get(destination);
    const deliveries: Delivery[] = [];
    for (let to = 0; to < this.#ports; to++) {
      if (to === port || (known !== undefined && to !== known)) continue;
      const atMs = this.#arrival(this.#link(port, to), frame.length, nowMs);
      if (atMs !== undefined) deliveries.push({ port: to, atMs });
    }
    return deliveries;
  }

  #arrival(link: Link, length: number, nowMs: number): number | undefined {
    const { loss, delayMs, bytesPerSecond } = link.condition;
    if (loss > 0 && this.#random() < loss) return undefined;
    const startMs = bytesPerSecond === undefined ? nowMs : Math.max(nowMs, link.freeAtMs);
    if (startMs - nowMs > longestQueueMs) return undefined;
    link.freeAtMs = bytesPerSecond === undefined ? nowMs : startMs + (1000 * length) / bytesPerSecond;
    link.lastAtMs = Math.max(link.lastAtMs, link.freeAtMs + delayMs);
    return link.lastAtMs;
  }
}

function macAt(frame: Uint8Array, offset: number): string {
  return Buffer.from(frame.buffer, frame.byteOffset + offset, macBytes).toString('latin1');
}

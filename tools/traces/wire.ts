import { setTimeout as sleep } from 'node:timers/promises';
import { PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { etherType, tcpFlag, virtioNetHeader } from '../../src/colo/packet/wire.ts';
import { tryRead, tryWrite } from '../../src/host/libc/descriptors.ts';
import { word } from '../../test/support/packets.ts';
import type { End } from './addresses.ts';
import type { Network } from './network.ts';
import type { Take, TraceCase, Way } from './trace-case.ts';

/** A frame as the guest sent it, or as it came to the guest, and when. */
export interface RecordedFrame {
  readonly ms: number;
  readonly bytes: Uint8Array;
}

/** More than a segment of 64 KiB, and what is in front of it. */
const mostFrameBytes = 1 << 17;
const addressesBytes = 12;

/**
 * What lies between the two ends: it takes its time, loses segments and has others overtaken, as a take wants it. What the guest
 * sends is recorded before anything happens to it, what comes to the guest after.
 */
export class Wire {
  readonly recorded: RecordedFrame[] = [];
  readonly #network: Network;
  readonly #trace: TraceCase;
  readonly #ways: Readonly<Record<End, WayOf>>;
  readonly #buffer = new Uint8Array(mostFrameBytes);
  readonly #view = new PacketView();
  /** FINs of the client's that have to cross the guest's. */
  readonly #crossing: Uint8Array[] = [];
  #guestHasEnded = false;
  #isCut = false;
  #turns: Promise<void> = Promise.resolve();

  constructor(network: Network, trace: TraceCase, { fromGuest, toGuest }: Take) {
    this.#network = network;
    this.#trace = trace;
    this.#ways = { guest: new WayOf(fromGuest), client: new WayOf(toGuest) };
  }

  /** Carries frames from now on. */
  join(): void {
    this.#turns = this.#carry();
  }

  /** Carries no more. */
  async cut(): Promise<void> {
    this.#isCut = true;
    await this.#turns;
  }

  /** A frame with a virtio-net header for the guest that did not come from the client. */
  inject(frame: Uint8Array): void {
    this.#deliver('client', frame);
  }

  async #carry(): Promise<void> {
    while (!this.#isCut) {
      this.#take('guest');
      this.#take('client');
      for (const from of ['guest', 'client'] as const) {
        for (const frame of this.#ways[from].due(performance.now())) this.#deliver(from, frame);
      }
      await sleep(1);
    }
  }

  #take(from: End): void {
    for (;;) {
      const length = tryRead(this.#network[from].tap.fd, this.#buffer);
      if (length <= 0) return;
      const frame = this.#buffer.slice(0, length);
      if (from === 'guest') this.#record(frame);
      const isCrossed = this.#isCrossed(from, frame);
      if (isCrossed && from === 'client' && !this.#guestHasEnded) {
        this.#crossing.push(frame);
        continue;
      }
      this.#ways[from].begin(frame, performance.now());
      if (!isCrossed || from === 'client') continue;
      this.#guestHasEnded = true;
      for (const end of this.#crossing.splice(0)) this.#ways.client.begin(end, performance.now());
    }
  }

  /** A FIN of the connection in which both ends' cross. */
  #isCrossed(from: End, frame: Uint8Array): boolean {
    const view = this.#view;
    if (view.read(frame, 0, frame.length) !== packetKind.tcp || (view.tcpFlags & tcpFlag.fin) === 0) return false;
    return (from === 'guest' ? view.sourcePort : view.destinationPort) === this.#trace.crossedPort;
  }

  #deliver(from: End, frame: Uint8Array): void {
    if (from === 'client') this.#record(frame);
    const { tap } = this.#network[from === 'guest' ? 'client' : 'guest'];
    const written = tryWrite(tap.fd, frame);
    if (written !== frame.length) throw new Error(`the TAP ${tap.name} took ${written} of ${frame.length} bytes`);
  }

  #record(frame: Uint8Array): void {
    const bytes = frame.slice(virtioNetHeader.bytes);
    const { vlan } = this.#trace;
    this.recorded.push({ ms: performance.now(), bytes: vlan === undefined ? bytes : tagged(bytes, vlan) });
  }
}

/** Frames that are on their way in one direction. */
class WayOf {
  readonly #way: Way;
  readonly #view = new PacketView();
  /** How many segments with data each connection has had. */
  readonly #segments = new Map<string, number>();
  #frames: { readonly due: number; readonly frame: Uint8Array }[] = [];

  constructor(way: Way) {
    this.#way = way;
  }

  begin(frame: Uint8Array, now: number): void {
    const { delayMs, lost = [], late = [], lateMs = 0 } = this.#way;
    const segment = this.#segmentOf(frame);
    if (lost.includes(segment)) return;
    this.#frames.push({ due: now + delayMs + (late.includes(segment) ? lateMs : 0), frame });
  }

  due(now: number): Uint8Array[] {
    const due = this.#frames.filter((one) => one.due <= now);
    this.#frames = this.#frames.filter((one) => one.due > now);
    return due.map(({ frame }) => frame);
  }

  /** Which segment with data of its connection it is; 0: it is none. */
  #segmentOf(frame: Uint8Array): number {
    const view = this.#view;
    if (view.read(frame, 0, frame.length) !== packetKind.tcp || view.payloadBytes === 0) return 0;
    const connection = `${view.ip.version} ${view.sourcePort} ${view.destinationPort}`;
    const segment = (this.#segments.get(connection) ?? 0) + 1;
    this.#segments.set(connection, segment);
    return segment;
  }
}

/** The frame with an IEEE 802.1Q tag. */
function tagged(frame: Uint8Array, vlan: number): Uint8Array {
  return Uint8Array.from([
    ...frame.subarray(0, addressesBytes),
    ...word(etherType.vlan),
    ...word(vlan),
    ...frame.subarray(addressesBytes),
  ]);
}

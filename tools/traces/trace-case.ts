import type { End } from './addresses.ts';

/** What happens to frames on their way in one direction. */
export interface Way {
  readonly delayMs: number;
  /** Which segments with data of each connection are lost: the first is 1, and those sent again count. */
  readonly lost?: readonly number[];
  /** Which of them come later than the others, so that they are overtaken, and by how much. */
  readonly late?: readonly number[];
  readonly lateMs?: number;
}

/** How one of a case's recordings is made. What both ends say is the same in all of them, byte for byte. */
export interface Take {
  /** Of both interfaces. */
  readonly mtu: number;
  /** Of the guest's card: checksums are left to it, and segments may have 64 KiB. */
  readonly offload: boolean;
  readonly fromGuest: Way;
  readonly toGuest: Way;
  /** How much the guest's program writes at once. Undefined: all of it. */
  readonly pieceBytes?: number;
  /** How long programs do nothing that are slow, or idle. */
  readonly idleMs?: number;
  /** The guest answers what was asked last first. */
  readonly backwards?: boolean;
  /** Content of IPv6 extension headers of the guest's, as options: see talk.ts. */
  readonly hopByHop?: readonly number[];
  readonly destination?: readonly number[];
}

/** What the program of an end does in an exchange. It ends when it has done its part. */
export type Talk = Readonly<Record<End, (take: Take, bothMayBegin: () => Promise<void>) => Promise<void>>>;

/** An exchange that is recorded, twice. */
export interface TraceCase {
  readonly name: string;
  readonly talk: Talk;
  /** Files under /proc/sys/net/ipv4, and what is written into them, of the guest and of the client. */
  readonly guestSystem?: Readonly<Record<string, string>>;
  readonly clientSystem?: Readonly<Record<string, string>>;
  /** What the scale of both ends' windows is, where there is one. */
  readonly windowScale: number;
  /** Further metrics of the routes of both ends: ip-route(8). */
  readonly routeMetrics?: readonly string[];
  /** What is recorded has this VLAN tag, as on the trunk port of a switch. */
  readonly vlan?: number;
  /** To this port of the guest's a FIN comes only when the guest has sent its own: they cross. */
  readonly crossedPort?: number;
  /** The guest is pinged, too. */
  readonly pings?: boolean;
  readonly takes: readonly [Take, Take];
}

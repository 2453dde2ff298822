import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import { FrameReader } from '../../../../src/colo/protocol/frame-reader.ts';
import { encodeFrame } from '../../../../src/colo/protocol/message-codec.ts';
import { type StreamName, streamOf, streams } from '../../../../src/colo/protocol/message-table.ts';
import { peerOf, type Role } from '../../../../src/colo/protocol/numbers.ts';
import type { Agenda } from './agenda.ts';
import type { RandomStream } from './random.ts';

/** What an end of the network hears. */
export interface NetworkEnd {
  connected(session: number): void;
  frame(session: number, frame: Frame): void;
  closed(session: number, by: 'peer' | 'network'): void;
}

/** One direction of one stream. What is sent arrives in order, unless the direction is cut: then it waits. */
interface Lane {
  readonly from: Role;
  lastArrival: number;
}

interface Session {
  readonly id: number;
  readonly lanes: ReadonlyMap<StreamName, Lane>[];
  /** Which ends are closed. */
  readonly closed: Record<Role, boolean>;
  /** A loss of power at this end: what has not arrived by then may never do. */
  readonly lost: Record<Role, boolean>;
  /** This end says nothing more but heartbeats, and takes no bulk. */
  readonly silent: Record<Role, boolean>;
}

/**
 * The connections between the two sides: four streams, each in order, none in step with another (spec B.5). Directions can be
 * cut and slowed one by one; a connection that breaks tells both ends, at different times.
 */
export class PeerNetwork {
  readonly #agenda: Agenda;
  readonly #random: RandomStream;
  readonly #ends = new Map<Role, NetworkEnd>();
  /** All frames travel as bytes through the codec. */
  readonly #asBytes: boolean;
  #session: Session | undefined;
  #sessions = 0;
  /** One stream may be slower than the others all the time, ms. */
  readonly #laggard: StreamName | undefined;
  /** Extra delay of what this side sends, at most, ms. */
  readonly #slowMs: Record<Role, number> = { primary: 0, secondary: 0 };
  /** What was sent while it was more arrives until then. */
  readonly #wasSlow: Record<Role, { readonly ms: number; readonly until: number }> = {
    primary: { ms: 0, until: 0 },
    secondary: { ms: 0, until: 0 },
  };
  /** What this side sends comes later and later: since when, and up to how many ms. */
  readonly clogged: Record<Role, { readonly since: number; readonly upTo: number } | undefined> = {
    primary: undefined,
    secondary: undefined,
  };
  readonly #cut: Record<Role, (() => void)[] | undefined> = { primary: undefined, secondary: undefined };
  frames = 0;
  /** When the last of what this side sent arrives. */
  readonly latestArrival: Record<Role, number> = { primary: 0, secondary: 0 };
  /** When what a cut had held of this side's arrived last. */
  readonly releasedAt: Record<Role, number> = { primary: 0, secondary: 0 };

  constructor(agenda: Agenda, random: RandomStream, asBytes: boolean) {
    this.#agenda = agenda;
    this.#random = random;
    this.#asBytes = asBytes;
    this.#laggard = random.chance(0.3) ? random.pick(streams) : undefined;
  }

  attach(role: Role, end: NetworkEnd): void {
    this.#ends.set(role, end);
  }

  /** The session that is open at this end. */
  sessionOf(role: Role): number | undefined {
    return this.#session === undefined || this.#session.closed[role] ? undefined : this.#session.id;
  }

  connect(): void {
    const lane = (from: Role) => new Map(streams.map((name) => [name, { from, lastArrival: 0 }]));
    const session: Session = {
      id: ++this.#sessions,
      lanes: [lane('primary'), lane('secondary')],
      closed: { primary: false, secondary: false },
      lost: { primary: false, secondary: false },
      silent: { primary: false, secondary: false },
    };
    this.#session = session;
    this.#travel('primary', 1, () => {
      this.#travel('secondary', 1, () => this.#ends.get('primary')?.connected(session.id));
    });
  }

  send(from: Role, frame: Frame): void {
    const session = this.#session;
    if (session === undefined || session.closed[from]) return;
    if (session.silent[from] && frame.message.kind !== 'heartbeat') return;
    this.frames++;
    const stream = streamOf(frame.message.kind);
    this.#lane(session, from, stream, () => {
      const to = peerOf(from);
      if (session.closed[to] || session.lost[from]) return;
      if (!this.#asBytes) this.#ends.get(to)?.frame(session.id, frame);
      else
        new FrameReader(stream, from, (read) => this.#ends.get(to)?.frame(session.id, read)).push(encodeFrame(frame));
    });
  }

  /** This end closes all its connections, or its kernel does. */
  close(from: Role): void {
    const session = this.#session;
    if (session === undefined || session.closed[from]) return;
    session.closed[from] = true;
    this.#lane(session, from, 'control', () => {
      const to = peerOf(from);
      if (session.closed[to] || session.lost[from]) return;
      session.closed[to] = true;
      this.#ends.get(to)?.closed(session.id, 'peer');
    });
  }

  /** A host loses its power: nobody closes anything, and what was not on the wire never comes. */
  powerLost(side: Role): void {
    const session = this.#session;
    if (session === undefined) return;
    session.closed[side] = true;
    if (this.#random.chance(0.5)) session.lost[side] = true;
  }

  /** For as long as this connection lasts, this end beats and does nothing else. */
  fallSilent(side: Role): void {
    if (this.#session !== undefined) this.#session.silent[side] = true;
  }

  /** What this side sends from now on arrives up to so many ms later. */
  slow(from: Role, ms: number): void {
    const before = this.#slowMs[from];
    if (ms < before) this.#wasSlow[from] = { ms: before, until: this.#agenda.now + before };
    this.#slowMs[from] = ms;
  }

  /** How much later what this side sends may arrive, or has sent and is still on its way, ms. */
  mostDelay(from: Role): number {
    const { ms, until } = this.#wasSlow[from];
    return Math.max(this.#slowMs[from], this.#agenda.now < until ? ms : 0) + (this.clogged[from]?.upTo ?? 0);
  }

  /** It makes room for bulk. */
  reads(side: Role): boolean {
    return this.#session?.silent[side] !== true;
  }

  /** The connection breaks. An end that is `untold` finds out by silence alone: its side of it is half open. */
  break(untold?: Role): void {
    const session = this.#session;
    if (session === undefined) return;
    for (const role of ['primary', 'secondary'] as const) {
      if (role === untold) continue;
      this.#agenda.after(this.#random.between(0, 60), () => {
        if (session.closed[role]) return;
        session.closed[role] = true;
        this.#ends.get(role)?.closed(session.id, 'network');
      });
    }
    session.lost.primary = true;
    session.lost.secondary = true;
  }

  /** What this side sends waits, until {@link heal}. */
  cut(from: Role): void {
    this.#cut[from] ??= [];
  }

  heal(from: Role): void {
    const waiting = this.#cut[from];
    this.#cut[from] = undefined;
    if (waiting !== undefined && waiting.length > 0) this.releasedAt[from] = this.#agenda.now;
    for (const go of waiting ?? []) go();
  }

  #lane(session: Session, from: Role, stream: StreamName, arrive: () => void): void {
    const lane = session.lanes[from === 'primary' ? 0 : 1]?.get(stream) as Lane;
    const lag = stream === this.#laggard ? 12 : 0;
    const delay = lag + this.#delay(from, stream === 'pages' ? 3 : 1);
    lane.lastArrival = Math.max(lane.lastArrival, this.#agenda.now + delay);
    this.latestArrival[from] = Math.max(this.latestArrival[from], lane.lastArrival);
    this.#agenda.at(lane.lastArrival, () => this.#throughCut(from, arrive));
  }

  /** A direction that is cut holds what arrives, in order. */
  #throughCut(from: Role, arrive: () => void): void {
    const waiting = this.#cut[from];
    if (waiting === undefined) arrive();
    else waiting.push(arrive);
  }

  #travel(from: Role, factor: number, arrive: () => void): void {
    this.#agenda.after(this.#delay(from, factor), () => this.#throughCut(from, arrive));
  }

  #delay(from: Role, factor: number): number {
    const clog = this.clogged[from];
    const late = clog === undefined ? 0 : Math.min(clog.upTo, (this.#agenda.now - clog.since) * 0.8);
    const usual = this.#random.between(0.1, 1) * factor + late;
    const slow = this.#slowMs[from];
    return slow === 0 ? usual : usual + this.#random.between(0, slow);
  }
}

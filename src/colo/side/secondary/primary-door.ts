import { showHostPort } from '../../command/host-port.ts';
import type { SecondaryConfig } from '../../command/pair-config.ts';
import type { Company } from '../../core/secondary/search-pace.ts';
import type { Secondary } from '../../core/secondary/secondary.ts';
import type { dial } from '../../link/dial.ts';
import type { PeerLink } from '../../link/peer-link.ts';
import { turnAway } from '../../link/turn-away.ts';
import type { Frame } from '../../protocol/frame.ts';
import { type Hello, isOfThisVersion, type Message, type OtherHello } from '../../protocol/messages.ts';
import type { Term } from '../../protocol/numbers.ts';
import type { EventLog } from '../event-log.ts';
import type { Lane } from '../lane.ts';
import type { Listen } from '../standby-door.ts';
import { Greeting } from './greeting.ts';
import type { PairedMachine } from './paired-machine.ts';
import { whyBusy } from './standby-words.ts';
import { SurvivorSearch } from './survivor-search.ts';
import { UnexpectedCaller } from './unexpected-caller.ts';

export interface PrimaryDoorParts {
  readonly config: Pick<SecondaryConfig, 'listen' | 'peers' | 'security' | 'settings'>;
  readonly listen: Listen;
  readonly dial: typeof dial;
  readonly core: Pick<Secondary, 'phase' | 'term' | 'shape' | 'refusal'>;
  readonly machine: PairedMachine;
  readonly lane: Lane;
  readonly log: EventLog;
  /** This side is as it is for that reason. */
  readonly why: () => string;
  /** Whoever is connected. */
  readonly link: () => PeerLink | undefined;
  /** Somebody is, from now on. */
  readonly adopt: (link: PeerLink) => void;
  /** Nobody is connected, and that connection is closed. */
  readonly drop: (link: PeerLink) => void;
  readonly send: (message: Message) => void;
  /** That hello is the core's to answer, and there is a machine for it, unless the core refuses it. */
  readonly greeted: (hello: Frame) => void;
  /** While it is not known who goes on a primary of that pair said hello, in that term. It is turned away. */
  readonly called: (pair: string, term: Term) => void;
}

/**
 * How a primary comes to a standby: one that connects is taken, and those who come meanwhile are turned away; and one that runs
 * the guest alone is looked for (spec B.7). Whoever is connected has to say hello soon, and once. While it is not known who goes on, a
 * primary that comes, or is found, is heard and then turned away: it may be the one that does.
 */
export class PrimaryDoor {
  readonly #parts: PrimaryDoorParts;
  readonly #greeting: Greeting;
  #listener: Awaited<ReturnType<Listen>> | undefined;
  readonly #caller: UnexpectedCaller;
  #search: SurvivorSearch | undefined;
  #peer: string | undefined;

  constructor(parts: PrimaryDoorParts) {
    this.#parts = parts;
    const { stepMs } = parts.config.settings;
    this.#greeting = new Greeting(stepMs, (link) => {
      if (this.#parts.link() === link && this.#isFree) this.#drop(link, `said nothing for ${stepMs} ms`);
    });
    this.#caller = new UnexpectedCaller({
      core: parts.core,
      patienceMs: stepMs,
      called: parts.called,
      why: () => this.#whyBusy,
      turnedAway: (link, reason) => this.#tellTurnedAway(link, reason),
    });
  }

  /** Who was taken last, by address. */
  get peer(): string | undefined {
    return this.#peer;
  }

  /** Where it waits; a port that was left to the kernel is known once it does. */
  get address(): string {
    const { host, port } = this.#parts.config.listen;
    return showHostPort({ host, port: this.#listener?.port ?? port });
  }

  /** Whoever connects is heard from now on. The port. @throws LinkError */
  async open(): Promise<number> {
    const { config, listen, log } = this.#parts;
    this.#listener = await listen({
      ...config.listen,
      security: config.security,
      role: 'secondary',
      patienceMs: config.settings.stepMs,
      linked: (link) => this.#linked(link),
      refused: (reason) => log.add('peer', reason),
    });
    return this.#listener.port;
  }

  /** Looks for a survivor wherever it was told that one may be. */
  search(): void {
    const { config, dial, link, log } = this.#parts;
    const { peers = [], security, settings } = config;
    this.#search = new SurvivorSearch({
      places: peers,
      security,
      patienceMs: settings.stepMs,
      dial,
      company: () => this.#company,
      found: (found) => {
        if (this.#isUndecided) {
          this.#caller.hear(found);
          return;
        }
        const before = link();
        if (before !== undefined) this.#drop(before, 'said nothing, and answers by a call of this side');
        this.#meet(found);
      },
      failed: (reason) => log.add('pair', `no survivor answers: ${reason}`),
    });
    this.#search.start();
  }

  /** The machine is made before the core hears of it: heartbeats begin with the welcome. */
  hello(frame: Frame, hello: Hello | OtherHello): void {
    const { core, machine, lane, log, link: linkNow, drop, send, greeted } = this.#parts;
    const link = linkNow();
    if (link === undefined) return;
    if (!this.#greeting.began(link)) {
      this.#drop(link, 'said hello twice');
      return;
    }
    lane.do(async () => {
      if (linkNow() !== link) return;
      if (isOfThisVersion(hello)) {
        try {
          // What a refusal asked for may have been done since.
          core.shape = await machine.shape();
          if (core.refusal(hello, frame.term) === undefined) await machine.make(hello, link.peer.host);
        } catch (error) {
          const reason = `its machine cannot be made there: ${(error as Error).message}`;
          log.add('pair', `${link.peer.host} is refused: ${reason}`);
          // Somebody else may have connected since.
          if (linkNow() !== link) return;
          send({ kind: 'refusal', reason });
          drop(link);
          return;
        }
      }
      this.#greeting.answered(link);
      if (linkNow() === link) greeted(frame);
      else await machine.close();
    });
  }

  /** A pairing is over, and whoever is connected may say hello again: soon. */
  expectHello(): void {
    this.#greeting.expect(this.#parts.link());
  }

  /** Nobody is heard or looked for any more. */
  close(): void {
    this.#greeting.close();
    this.#caller.close();
    this.#search?.close();
    this.#listener?.close();
  }

  /** There is nobody to stand by for yet. */
  get #isFree(): boolean {
    return this.#parts.core.phase === 'listening';
  }

  /** Nobody has said yet who goes on, and whoever does may know. */
  get #isUndecided(): boolean {
    return this.#parts.core.phase === 'claiming' && !this.#caller.isThere;
  }

  get #company(): Company {
    if (this.#isUndecided) return 'nobody';
    const link = this.#parts.link();
    if (!this.#isFree || (link !== undefined && this.#greeting.hasBegun(link))) return 'primary';
    return link === undefined ? 'nobody' : 'stranger';
  }

  #linked(link: PeerLink): void {
    const { core, log } = this.#parts;
    if (this.#parts.link() !== undefined || !this.#isFree) {
      if (this.#isUndecided) {
        this.#caller.hear(link);
        return;
      }
      const reason = this.#whyBusy;
      turnAway(link, 'secondary', core.term, reason);
      this.#tellTurnedAway(link, reason);
      return;
    }
    log.add('pair', `${link.peer.host} has connected${link.secure ? '' : ', in plaintext'}`);
    this.#meet(link);
  }

  get #whyBusy(): string {
    const { core, why } = this.#parts;
    return whyBusy(core.phase, this.#peer, why());
  }

  #tellTurnedAway(link: PeerLink, reason: string): void {
    this.#parts.log.add('peer', `${link.peer.host} was turned away: ${reason}`);
  }

  /** Whoever is at the other end is to say hello. */
  #meet(link: PeerLink): void {
    this.#peer = link.peer.host;
    this.#parts.adopt(link);
    this.expectHello();
  }

  #drop(link: PeerLink, why: string): void {
    this.#parts.log.add('peer', `${link.peer.host} ${why}: the connection is closed`);
    this.#parts.drop(link);
  }
}

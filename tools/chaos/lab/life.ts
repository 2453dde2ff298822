import { setTimeout as sleep } from 'node:timers/promises';
import type { Mode } from '../../../src/colo/protocol/numbers.ts';
import { guestNetwork, guestNetwork6 } from '../../demo/guest.ts';
import type { LabPair, Side } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';
import type { Progress } from '../../packages/progress.ts';
import { Speakers } from '../speakers.ts';
import { LabClients } from './clients.ts';
import { type CopyPoint, copyBegins, copyPointInWords, isCopiedTo } from './copy-point.ts';
import { LabGround, type Role } from './ground.ts';
import { servicesReady } from './guest.ts';
import type { LoadTools, RunningLoad } from './load-tools.ts';
import { readGuestDisk } from './survivor-disk.ts';
import { compareWithDisk, type Found, type Outcome, outcomeOf } from './verdict.ts';

/** Emulated hosts on a busy machine are slow. */
export const patienceMs = 180_000;
/** A pair that lives has consent again within this time. */
const consentMs = 10_000;

/** What happens while a guest that was left alone is becoming protected again. */
export interface LabTrouble {
  readonly name: string;
  /** It comes at some moment, or then and for a while, or is there as long as something is copied. */
  readonly extent: 'moment' | 'while' | 'throughout';
  /** Resolves when it is over, or is the guest's to live with until {@link mend}. @param lastsMs how long a `while` is */
  readonly happen: (life: LabLife, lastsMs: number) => Promise<void>;
  /** What is mended once the guest is protected. */
  readonly mend?: (life: LabLife) => Promise<void>;
}

/** A trouble as it comes, out of the seed. */
export interface TroublePlan {
  readonly trouble: LabTrouble;
  readonly at: CopyPoint;
  readonly lastsMs: number;
}

/** What a guest is, and how it is asked. */
export interface GuestPlan {
  /** The host that is primary at first. */
  readonly primary: Side;
  /** How output leaves. */
  readonly mode: Mode;
  readonly cpus: number;
  /** Of its card. */
  readonly hasOffloads: boolean;
  /** Who is asked over IPv4 otherwise is asked over IPv6, and the other way round. */
  readonly isIpv6First: boolean;
}

/** How a guest was protected again. */
export interface ProtectedAgain {
  /** In words. */
  readonly trouble: string;
  readonly ms: number;
}

export interface LifeOptions {
  /** What clients believe of the guest over TLS. */
  readonly authority: string;
  readonly load: LoadTools;
  readonly note: (text: string) => void;
  readonly progress: Progress;
}

/** One guest from its start to its end, however often it is lost and protected again meanwhile. Its clients are the same all along. */
export class LabLife {
  readonly pair: LabPair;
  readonly guest: GuestPlan;
  readonly ground: LabGround;
  readonly clients: LabClients;
  readonly #options: LifeOptions;
  readonly #speakers = new Speakers();

  private constructor(pair: LabPair, guest: GuestPlan, ground: LabGround, clients: LabClients, options: LifeOptions) {
    this.pair = pair;
    this.guest = guest;
    this.ground = ground;
    this.clients = clients;
    this.#options = options;
  }

  /** A new pair whose guest serves and is protected. @throws Error if it never became one */
  static async begin(pair: LabPair, guest: GuestPlan, options: LifeOptions): Promise<LabLife> {
    const { primary, mode, cpus, hasOffloads, isIpv6First } = guest;
    const { note, authority } = options;
    pair.primary = primary;
    const isCompared = mode === 'comparing';
    await pair.renew({ isCompared, isRecorded: isCompared, cpus, hasNoOffloads: !hasOffloads });
    note(`both hosts are ready; ${guestInWords(guest)}`);
    await startGuest(pair, primary, heardBy(note, primary));
    const clients = new LabClients(pair.lab.outside, authority, isIpv6First);
    const life = new LabLife(pair, guest, new LabGround(pair, note), clients, options);
    try {
      note('the guest serves');
      await life.#watchSpeakers();
      // An emulated host copies memory slowly enough without anybody asking.
      await life.clients.order('once');
      life.#watch(primary);
      await life.#startStandby();
      await life.becomesProtected();
      return life;
    } catch (error) {
      life.abandon();
      throw error;
    }
  }

  /** How that side is found now. */
  readonly found = (role: Role): Found => ({ status: this.ground.status(role), isGone: this.ground.isGone(role) });

  get isProtected(): boolean {
    return outcomeOf(this.found('primary'), this.found('standby')) === 'both';
  }

  get speaker(): Side | undefined {
    return this.#speakers.speaker;
  }

  async becomesProtected(): Promise<void> {
    await until('the guest to be protected', patienceMs, () => this.isProtected);
    this.#speakers.isPair();
    this.#options.note('protected');
  }

  /** An emulated host may be late with a heartbeat. @throws Error with what the primary said */
  async isStillProtected(): Promise<void> {
    const { pair } = this;
    await until('the guest to be protected still', consentMs, () => this.isProtected).catch(() => {
      throw new Error(`the guest is not protected any more: ${pair.said[pair.primary].slice(-500)}`);
    });
  }

  /**
   * The survivor becomes the primary of a pair again, with what was lost mended, and that trouble meanwhile. A standby that lives has
   * to come back by itself.
   */
  async protectAgain(outcome: Outcome, plan: TroublePlan): Promise<ProtectedAgain> {
    const { pair, ground } = this;
    const { trouble, lastsMs } = plan;
    if (outcome === 'standby') pair.primary = pair.standby;
    const began = performance.now();
    if (outcome === 'standby' || ground.isGone('standby')) await this.anotherStandby();
    const isInTrouble = await this.#copies(trouble.extent === 'throughout' ? copyBegins : plan.at);
    if (isInTrouble) {
      await trouble.happen(this, lastsMs);
      ground.forgetStatus();
      await this.#rolesAreKnown();
    }
    await this.becomesProtected();
    if (isInTrouble) await trouble.mend?.(this);
    const words = `${troubleInWords(plan)}${isInTrouble ? '' : ': it was protected before'}`;
    return { trouble: words, ms: performance.now() - began };
  }

  /** What is on the standby's host ends; a standby is started there that looks for the survivor. */
  async anotherStandby(): Promise<void> {
    const { pair, ground } = this;
    await pair.repair(pair.standby);
    ground.isBack('standby');
    await this.#startStandby();
  }

  /** Somebody is answered, however the guest is protected. */
  async serves(): Promise<void> {
    const { clients } = this;
    const answered = clients.counted;
    await clients.order('once');
    await until('somebody to serve', patienceMs, () => clients.counted > answered);
  }

  /** The end of it: a line for each thing that is wrong with what clients were told, and with the disk of who runs the guest. */
  async end(): Promise<string[]> {
    const { pair, clients } = this;
    const report = await clients.stop();
    this.#options.note(`answers: ${JSON.stringify({ counter: clients.counted, ...report.answers })}`);
    await pair.end();
    const disk = await readGuestDisk(await pair.disk(this.#survivor), this.#options.progress);
    return compareWithDisk(report, disk);
  }

  /** Others ask as well, as fast as they are answered. */
  startLoad(): RunningLoad {
    return this.#options.load.start((this.guest.isIpv6First ? guestNetwork6 : guestNetwork).address);
  }

  /** Who spoke after another one had, since this was last asked. */
  takeSpeakersViolations(): string[] {
    return this.#speakers.violations.splice(0);
  }

  /** Nobody asks any more. */
  abandon(): void {
    this.clients.end();
  }

  /** Waits until the copy is there. @returns false: a pair found itself, or has all, and nobody has seen it copy */
  async #copies(at: CopyPoint): Promise<boolean> {
    await until('the copy', patienceMs, () => isCopiedTo(at, this.ground.status('primary')) || this.isProtected);
    if (this.isProtected) return false;
    // It may have all before anybody sees that, and take over, in the trouble that comes now.
    this.#speakers.isPair();
    await sleep(at.thenMs);
    return !this.isProtected;
  }

  /** Trouble that came when the guest was protected, though nobody had seen that yet, may be a loss like any other. */
  async #rolesAreKnown(): Promise<void> {
    const { pair } = this;
    const isTakenOver = (): boolean => this.found('standby').status?.headline === 'UNPROTECTED';
    await until('the guest to be protected', patienceMs, () => this.isProtected || isTakenOver());
    if (!isTakenOver()) return;
    this.#options.note('it was protected already: the standby took over');
    pair.primary = pair.standby;
    await this.anotherStandby();
  }

  get #survivor(): Side {
    const { pair } = this;
    return this.found('standby').status?.headline === 'UNPROTECTED' ? pair.standby : pair.primary;
  }

  async #startStandby(): Promise<void> {
    const { pair } = this;
    const { standby } = pair;
    pair.start(standby, heardBy(this.#options.note, standby));
    await pair.up(standby);
    this.#watch(standby);
  }

  #watch(side: Side): void {
    this.pair.watch(side, (status) => this.ground.heard(side, status));
  }

  async #watchSpeakers(): Promise<void> {
    const { pair } = this;
    const sideOf = new Map<string, Side>([
      [pair.host('a').name, 'a'],
      [pair.host('b').name, 'b'],
    ]);
    await pair.lab.network.watch(guestNetwork.mac, (name) => {
      const side = sideOf.get(name);
      if (side === undefined) return;
      if (this.#speakers.speaker !== side) this.#options.note(`host ${side} speaks as the guest`);
      this.#speakers.spoke(side, Buffer.alloc(0));
    });
  }
}

export function guestInWords({ mode, cpus, hasOffloads, isIpv6First }: GuestPlan): string {
  const vcpus = cpus === 1 ? '1 vCPU' : `${cpus} vCPUs`;
  return `${mode}, ${vcpus}, offloads ${hasOffloads ? 'on' : 'off'}, IPv${isIpv6First ? 6 : 4} first`;
}

export function troubleInWords({ trouble, at, lastsMs }: TroublePlan): string {
  const { name, extent } = trouble;
  if (extent === 'throughout') return name;
  const lasts = extent === 'while' ? ` for ${(lastsMs / 1000).toFixed(1)} s` : '';
  return `${name}${lasts}, ${copyPointInWords(at)}`;
}

/** The guest runs, and serves. */
async function startGuest(pair: LabPair, side: Side, said: (line: string) => void): Promise<void> {
  pair.start(side, said);
  await pair.up(side);
  await until('the guest to serve', patienceMs, async () => (await pair.serial(side)).includes(servicesReady));
}

function heardBy(note: (text: string) => void, side: Side): (line: string) => void {
  return (line) => note(`${side}: ${line.replace(/^colo-vmm: /, '')}`);
}

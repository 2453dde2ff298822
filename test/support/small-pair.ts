import { closeSync, copyFileSync, ftruncateSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Clients } from '../../tools/chaos/clients.ts';
import { compareDisk } from '../../tools/chaos/disk-history.ts';
import { type Answer, encodeOrder, type Order, servicePort } from '../../tools/chaos/guest/service.ts';
import { smallGuest, smallGuestMemory } from '../../tools/chaos/guest/small-guest.ts';
import { overlayContent } from './overlay-content.ts';
import { Pair } from './pair.ts';
import { freeName, ip, makeInterface } from './taps.ts';
import { type Ending, runVmm, VmmProcess } from './vmm-process.ts';

type Side = 'a' | 'b';
export type Mode = 'comparing' | 'buffered';

/** A network of four addresses: while a test has it, the host reaches nothing else that has one of them. */
export const smallNetwork = {
  ...{ whole: '198.18.72.0/30', client: '198.18.72.1', guest: '198.18.72.2', prefix: 30 },
  mac: '02:00:00:00:00:07',
} as const;
const diskBytes = 4 << 20;
/** No disk's size is a power of two by nature. */
const oddBytes = 513 * 512 * 3;
/** Whoever is killed is noticed at once; a machine that is busy is no dead one. */
const patient = ['--detection', '5000'];
/** A service that has to be there is waited for so long. A busy host is no broken pair. */
const patienceMs = 30_000;

export interface SmallPairParts {
  readonly mode: Mode;
  /** Flags of both sides. */
  readonly both?: readonly string[];
  /** Of each side, whoever starts it. */
  readonly of?: (side: Side) => readonly string[];
  /** Of the first primary. */
  readonly primary?: readonly string[];
  /** Of each side's disk of 4 MiB, beside its path. */
  readonly diskKeys?: string;
  /** What is written to that disk goes to a file of its own. */
  readonly overlay?: true;
  /** Where the standby's disks are; default the pair's own folder. */
  readonly standbyFolder?: string;
  /** Of each side, which the guest does not use. */
  readonly moreDisks?: number;
  readonly moreCards?: number;
  readonly memory?: string;
  /** Each host's, between which somebody has laid a way to clients; default one bridge for all. */
  readonly bridges?: Readonly<Record<Side, string>>;
}

/** A copy of the guest's disk, and what clients had been told when it was made. */
export interface SmallMoment {
  readonly disk: string;
  readonly told: ReadonlyMap<bigint, Answer>;
}

/**
 * Two real VMMs whose guest is the small one of `tools/chaos/guest`: its clients ask for numbers that it writes to its disk, and all
 * that they are told is held against each other, and against the disk.
 */
export class SmallPair {
  readonly pair: Pair;
  /** What runs on each host, or ran there last. */
  readonly sides: Record<Side, VmmProcess>;
  primary: Side = 'a';
  readonly #test: Test;
  readonly #parts: SmallPairParts;
  readonly #bridges: Readonly<Record<Side, string>>;
  #clients: Clients;
  /** What was told before the guest began anew. */
  #before: ReadonlyMap<bigint, Answer> = new Map();

  private constructor(
    t: Test,
    parts: SmallPairParts,
    pair: Pair,
    bridges: Readonly<Record<Side, string>>,
    clients: Clients,
  ) {
    this.#test = t;
    this.#parts = parts;
    this.pair = pair;
    this.#bridges = bridges;
    this.#clients = clients;
    const kernel = join(pair.folder, 'small.elf');
    writeFileSync(
      kernel,
      smallGuest({ address: smallNetwork.guest, port: servicePort, disks: 1 + (parts.moreDisks ?? 0) }),
    );
    const { mode, memory = smallGuestMemory, primary = [] } = parts;
    this.sides = {
      b: pair.seeking('b', ...this.#flags('b')),
      a: pair.primary(kernel, '--memory', memory, '--mode', mode, ...primary, ...this.#flags('a')),
    };
  }

  /** A pair that is protected, whose guest has answered. All that it makes is gone after the test. */
  static async make(t: Test, parts: SmallPairParts): Promise<SmallPair> {
    const bridges = parts.bridges ?? bridgeWithClients(t);
    const small = new SmallPair(t, parts, await Pair.make(t), bridges, await openClients());
    t.teardown(() => small.#clients.close());
    const { a, b } = small.sides;
    await Promise.race([small.pair.protected(), ...[a, b].map(({ ended }) => ended.then(failIfEnded))]);
    await small.serves();
    return small;
  }

  get standby(): Side {
    return this.primary === 'a' ? 'b' : 'a';
  }

  diskPath(side: Side): string {
    const { standbyFolder = this.pair.folder } = this.#parts;
    return join(side === 'b' ? standbyFolder : this.pair.folder, `disk-${side}.img`);
  }

  /** What the guest's disk is on that side. */
  diskContent(side: Side): Buffer {
    const path = this.diskPath(side);
    return this.#parts.overlay ? overlayContent(path, overlayOf(path)) : readFileSync(path);
  }

  /** A command about the primary, or about that side. */
  say(command: string, ...words: readonly string[]): Promise<Ending> {
    return this.sayTo(this.primary, command, ...words);
  }

  sayTo(side: Side, command: string, ...words: readonly string[]): Promise<Ending> {
    return runVmm([command, ...words, '--control', this.pair.control(side), '--json']);
  }

  /** Protects the first primary again, whose standby is there. */
  protect(): Promise<Ending> {
    const { pair } = this;
    return this.sayTo(
      'a',
      'protect',
      ...['--standby', `127.0.0.1:${pair.port}`, '--tls', `dir=${pair.keys('a')}`, '--mode', this.#parts.mode],
      ...['--arbiter', `etcd:${pair.etcd.url}`, '--state', join(pair.folder, 'a.state'), ...patient],
    );
  }

  /** The two are a pair, in these roles. */
  async isWhole(): Promise<void> {
    await this.pair.protected(this.primary);
  }

  /** Clients are answered, and what they are told is right. */
  async serves(count = 30): Promise<void> {
    const clients = this.#clients;
    const wanted = clients.answers + count;
    clients.start();
    const deadline = Date.now() + patienceMs;
    while (clients.answers < wanted && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
    clients.stop();
    const settled = await clients.settled(patienceMs);
    this.#test.ok(settled && clients.answers >= wanted, `${count} more answers, ${clients.answers} now`);
    this.#test.strictSame(clients.violations, [], 'no answer contradicts another one');
  }

  /** Clients ask without end until `during` is done, and are answered then as before. */
  async servesDuring<T>(during: () => Promise<T>): Promise<T> {
    this.#clients.start();
    const result = await during();
    await this.serves();
    return result;
  }

  /** The guest is told to do that to itself. */
  order(order: Order): Promise<void> {
    return this.#clients.say(encodeOrder(order));
  }

  /** The guest has begun anew: so do its clients. */
  async beganAnew(): Promise<void> {
    const said = new Map([...this.#before, ...this.#clients.told]);
    this.#before = said;
    this.#clients.close();
    this.#clients = await openClients();
  }

  /** The disk of that side is what clients were told. Nobody asks anything. */
  diskIsRight(side: Side): void {
    const wrong = compareDisk(this.diskContent(side), this.#clients.told, this.#before);
    this.#test.strictSame(wrong, [], `disk of ${side} has what clients were told`);
  }

  /** Copies the primary's disk to `path`. Nobody asks anything. */
  moment(path: string): SmallMoment {
    copyFileSync(this.diskPath(this.primary), path);
    return { disk: path, told: new Map(this.#clients.told) };
  }

  /** A machine is restored from a snapshot of that moment, and its guest goes on from there. Neither side of the pair runs. */
  async goesOnFrom(snapshot: string, { disk, told }: SmallMoment): Promise<void> {
    const flags = [
      '--disk',
      `id=disk,path=${disk}`,
      '--net',
      `tap=${freeName()},bridge=${this.#bridges[this.primary]}`,
    ];
    const control = join(this.pair.folder, 'restored.sock');
    const restored = new VmmProcess(['restore', snapshot, ...flags, '--control', control, '--serial', 'none']);
    this.#test.teardown(() => restored.child.kill('SIGKILL'));
    // Numbers that no client has had: the guest knows those of the others.
    this.#clients.close();
    this.#clients = await openClients(told.size);
    await Promise.race([this.serves(), restored.ended.then(failIfEnded)]);
    await restored.endedBySignal('SIGKILL');
    const wrong = compareDisk(disk, new Map([...told, ...this.#clients.told]));
    this.#test.strictSame(wrong, [], `the guest of ${snapshot} has counted on from ${told.size}`);
    this.#test.equal(restored.stderr, '', 'nothing to complain of');
  }

  /** A standby on the host whose process has ended, which looks for the survivor. */
  startStandby(): void {
    this.sides[this.standby] = this.pair.seeking(this.standby, ...this.#flags(this.standby));
  }

  /** The primary's process is killed, and the guest goes on where the other one was. @returns how long no client was answered, ms */
  async failsOver(): Promise<number> {
    this.#clients.forgetSilence();
    await this.servesDuring(() => this.sides[this.primary].endedBySignal('SIGKILL'));
    this.primary = this.standby;
    await this.pair.status(this.primary, ({ headline }) => headline === 'UNPROTECTED');
    this.diskIsRight(this.primary);
    return this.#clients.summary.longestSilenceMs;
  }

  #flags(side: Side): readonly string[] {
    const { both = [], of, diskKeys = '', overlay, moreDisks = 0, moreCards = 0 } = this.#parts;
    const bridge = this.#bridges[side];
    const path = this.diskPath(side);
    makeDisk(path, diskBytes);
    const more = Array.from({ length: moreDisks }, (_, index) => {
      makeDisk(`${path}.${index}`, (index + 1) * oddBytes);
      return ['--disk', `path=${path}.${index},id=more${index}`];
    });
    return [
      ...['--disk', `path=${path},id=disk${overlay ? `,overlay=${overlayOf(path)}` : ''}${diskKeys}`],
      ...more.flat(),
      ...['--net', `tap=${freeName()},bridge=${bridge},mac=${smallNetwork.mac}`, '--serial', 'none'],
      ...Array.from({ length: moreCards }, () => ['--net', `tap=${freeName()},bridge=${bridge}`]).flat(),
      ...(both.includes('--detection') ? [] : patient),
      ...both,
      ...(of?.(side) ?? []),
    ];
  }
}

function failIfEnded({ stderr }: Ending): never {
  throw new Error(`ended by itself: ${stderr}`);
}

function bridgeWithClients(t: Test): Record<Side, string> {
  const bridge = makeInterface(t, 'bridge');
  ip('link', 'set', bridge, 'type', 'bridge', 'forward_delay', '0', 'mcast_snooping', '0');
  ip('link', 'set', bridge, 'addrgenmode', 'none', 'up');
  ip('address', 'add', `${smallNetwork.client}/${smallNetwork.prefix}`, 'dev', bridge);
  return { a: bridge, b: bridge };
}

function openClients(numberedFrom = 0): Promise<Clients> {
  return Clients.open({ address: smallNetwork.guest, port: servicePort, clients: 4, thinkMs: 2, numberedFrom });
}

function overlayOf(path: string): string {
  return `${path}.overlay`;
}

function makeDisk(path: string, bytes: number): void {
  const file = openSync(path, 'a');
  ftruncateSync(file, bytes);
  closeSync(file);
}

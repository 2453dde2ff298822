import { DiskRingControl } from '../../../src/block/replicated/disk-ring.ts';
import { ActivityControl } from '../../../src/block/replicated/shared-changes.ts';
import { diskViews, historyDisk } from '../../../src/colo/disk/disk-view.ts';
import { generationBytes } from '../../../src/colo/disk/history/history.ts';
import type { Frame } from '../../../src/colo/protocol/frame.ts';
import { FrameReader } from '../../../src/colo/protocol/frame-reader.ts';
import { streams } from '../../../src/colo/protocol/message-table.ts';
import { comparedBlockBytes, hashBytes, type Message } from '../../../src/colo/protocol/messages.ts';
import { epoch as epochOf, noCheckpoint } from '../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../src/colo/protocol/protocol-error.ts';
import { Calls } from '../../../src/colo/side/calls.ts';
import type { ColoCalls, CommonMachineCalls, PrimaryMachineCalls } from '../../../src/colo/side/machine-calls.ts';
import { PrimaryHost } from '../../../src/colo/side/primary/primary-host.ts';
import { SignsOfLife } from '../../../src/colo/side/signs-of-life.ts';
import { EIO } from '../../../src/host/errno.ts';
import { EventFd } from '../../../src/host/events/eventfd.ts';
import { RecordProducer } from '../../../src/host/threads/record-ring.ts';
import { DirtyBitmap } from '../../../src/memory/dirty-bitmap.ts';
import { kindOfCard } from '../../../src/vmm/platform/packet-rings.ts';
import { OpenEpoch, type SharedProtection } from '../../../src/vmm/platform/shared-protection.ts';
import type { PausePart } from '../../../src/vmm/vmstate/pause-times.ts';
import type { Random } from '../fuzz-target.ts';
import { FakeLink } from './fake-link.ts';
import { defect, diskBytes, firstTerm, type PeerGround, portPair, ramPages, shape } from './peer-ground.ts';
import { type Piece, pick, piece, spoilt, ways } from './spoiler.ts';
import type { CaseWatcher } from './standby-case.ts';

/** How a primary may be when nobody says anything any more. */
const decided: readonly string[] = ['unprotected', 'waiting', 'fenced', 'ended'];

const packetBytes = 64;

/** A real primary, and a standby that is honest until it is not. */
export async function primaryCase(ground: PeerGround, random: Random, watcher: CaseWatcher): Promise<void> {
  ground.begin(random);
  const rig = new PrimaryRig(ground, random, watcher);
  try {
    rig.host.start();
    await ground.settle();
    await rig.play();
    await rig.comeToRest();
    rig.check();
  } finally {
    rig.close();
    await ground.settle();
  }
  ground.check();
}

class PrimaryRig {
  readonly host: PrimaryHost;
  readonly #ground: PeerGround;
  readonly #random: Random;
  readonly #watcher: CaseWatcher;
  readonly #bell = new EventFd();
  readonly #errors: string[] = [];
  /** What the standby is about to say. */
  readonly #toSay: Piece[] = [];
  /** How much of it is honest. */
  #wrongIn: number;
  #link: FakeLink | undefined;
  #shared: SharedProtection | undefined;
  #outbox: RecordProducer | undefined;
  #activity: ActivityControl | undefined;
  #flushes = 0;
  #peerIsGone = false;
  #epoch = new OpenEpoch();
  /** Output up to here may leave. */
  #claimed: number = noCheckpoint;
  #attached = 0;
  readonly #reader = new FrameReader('control', 'secondary', ({ message }) => {
    if (message.kind !== 'vmstate-received' && message.kind !== 'checkpoint-ready') return;
    this.#claimed = Math.max(this.#claimed, message.epoch);
  });

  constructor(ground: PeerGround, random: Random, watcher: CaseWatcher) {
    this.#ground = ground;
    this.#random = random;
    this.#watcher = watcher;
    this.#wrongIn = random(40);
    const [ours, theirs] = portPair();
    const live = new DirtyBitmap(ramPages);
    const numbers = new Uint32Array(new SharedArrayBuffer(ramPages * 4));
    const storage = new SharedArrayBuffer(ground.state.length);
    new Uint8Array(storage).set(ground.state);
    new Calls<ColoCalls, Omit<PrimaryMachineCalls, keyof CommonMachineCalls> & Pick<CommonMachineCalls, 'exit'>>(
      theirs,
      {
        attach: (shared) => {
          this.#attach(shared);
          return {
            devices: ground.devices,
            io: ground.io,
            vcpus: [],
            memory: {
              ramBytes: ramPages * 4096,
              live: [live.storage],
              regions: [{ firstPage: 0, pages: ramPages }],
              staging: {
                bytes: ground.ram.bytes,
                start: ground.ram.start,
                capacity: ramPages,
                numbers: numbers.buffer,
              },
            },
          };
        },
        collect: () => {
          const marked = random(ramPages);
          for (let count = 0; count < marked; count++) live.mark(count);
          return { ram: ground.ram, marked };
        },
        capture: ({ epoch }) => {
          this.#epoch.number = epoch + 1;
          const pages = random(4);
          for (let page = 0; page < pages; page++) numbers[page] = page;
          const state = { storage, sizeBytes: ground.state.length };
          return { epoch, pages, state, stoppedMs: 1, parts: {} as Record<PausePart, number> };
        },
        detach: () => {
          this.#attached--;
          this.#outbox = undefined;
        },
        hold: () => undefined,
        stepDown: () => undefined,
        exit: () => undefined,
      },
    );
    this.host = new PrimaryHost(
      { ...ground.birth(), standby: { host: 'peer', port: 1 }, insists: false },
      {
        calls: new Calls<PrimaryMachineCalls, ColoCalls>(ours, {} as never),
        bell: this.#bell.fd,
        shape,
        disks: diskViews(ground.devices).map(historyDisk),
        signs: new SignsOfLife(),
        rings: () => ground.rings(),
        dial: async () => {
          if (this.#peerIsGone) throw new Error('peer:1 cannot be reached');
          this.#link = new FakeLink('primary', (frame) => this.#said(frame));
          return this.#link.link;
        },
        engines: { engineFor: () => ground.engine },
      },
      {
        logged: ({ text }) => {
          watcher.log(`  log: ${text}`);
          if (defect.test(text)) this.#errors.push(text);
        },
        pairs: () => {},
        protects: () => {},
        coloExit: () => {},
        failed: (error) => this.#errors.push(error.stack ?? error.message),
      },
    );
  }

  async play(): Promise<void> {
    const random = this.#random;
    for (let steps = 0; steps < 120; steps++) {
      this.#flushIfAsked();
      if (this.#toSay.length === 0) {
        this.#ground.time.pass(10 + random(40));
        await this.#ground.settle();
        if (random(3) === 0) this.#guestSends();
        if (this.#toSay.length === 0 && steps > 60) return;
        continue;
      }
      const honest = this.#toSay.shift() as Piece;
      if (this.#wrongIn-- !== 0) {
        await this.#deliver([honest]);
        continue;
      }
      if (random(4) > 0) this.#wrongIn = random(8);
      const how = random(24);
      if (how === 0) {
        this.#note('silence');
        return;
      }
      if (how <= 2) {
        const kind = pick(['end', 'reset', 'lost'] as const, random);
        for (const stream of random(2) === 0 ? streams : [pick(streams, random)]) this.#link?.cut(stream, kind);
        this.#note('cut');
        continue;
      }
      if (how === 3) {
        const command = pick(
          [
            { name: 'failover', sure: true },
            { name: 'unprotect' },
            { name: 'checkpoint' },
            { name: 'protect' },
          ] as const,
          random,
        );
        this.#note(command.name);
        this.host.command(command);
        continue;
      }
      if (how === 4) this.host.post({ kind: 'guest-ended', exitCode: 3 });
      if (how === 5) this.host.post({ kind: 'disk-failed', error: 'EIO' });
      if (how === 6) this.host.post({ kind: 'end-overdue' });
      const way = pick(ways, random);
      this.#note(way);
      const next = this.#toSay[0];
      if (way === 'swapped') this.#toSay.shift();
      await this.#deliver(spoilt(way, honest, next, () => this.#foreign(), random));
    }
  }

  /** Whom this side lost and looks for again is not there any more. */
  async comeToRest(): Promise<void> {
    this.#peerIsGone = true;
    for (let count = 0; count < 6; count++) await this.#pass(3000);
    if (this.host.status().phase !== 'waiting') return;
    this.host.command({ name: 'failover', sure: false });
    for (let count = 0; count < 3; count++) await this.#pass(1000);
    if (this.host.status().phase === 'waiting') throw new Error('an operator says who goes on, and it does not');
  }

  check(): void {
    const { phase, link } = this.host.status();
    this.#watcher.count(`primary ${phase}`);
    if (!decided.includes(phase)) throw new Error(`it stays ${phase}`);
    if (link !== undefined) throw new Error(`a peer that says nothing is held on to while it is ${phase}`);
    if (this.#link?.isClosed === false) throw new Error('a connection is left open');
    const [error] = this.#errors;
    if (error !== undefined) throw new Error(error);
    if (phase === 'unprotected' && this.#attached !== 0)
      throw new Error('nobody protects it, and its machine waits for that');
  }

  close(): void {
    this.host.close();
    this.#bell.close();
  }

  #note(what: string): void {
    this.#watcher.count(`way ${what}`);
    this.#watcher.log(`  ${what}`);
  }

  async #pass(ms: number): Promise<void> {
    this.#link?.drain();
    this.#ground.time.pass(ms);
    await this.#ground.settle();
    this.#checkOutput();
  }

  /** As the io thread: every change of the guest's is forwarded. */
  #attach(shared: SharedProtection): void {
    this.#attached++;
    this.#shared = shared;
    this.#epoch = new OpenEpoch(shared.epoch);
    this.#claimed = noCheckpoint;
    new DiskRingControl(shared.disks.control).complete();
    if (shared.changes === undefined) throw new Error('nobody says what becomes of changes to disks');
    this.#activity = new ActivityControl(shared.changes.control);
    this.#flushes = this.#activity.flushes;
    this.#outbox = new RecordProducer(shared.packets.outbox, () => this.host.rang());
  }

  /** As the io thread: the disks are made durable, when that was asked for. */
  #flushIfAsked(): void {
    const activity = this.#activity;
    if (activity === undefined || activity.flushes === this.#flushes) return;
    this.#flushes = activity.flushes;
    activity.flushed = this.#random(50) === 0 ? -EIO : 0;
    this.host.rang();
  }

  #guestSends(): void {
    const outbox = this.#outbox;
    if (outbox === undefined || this.#shared === undefined) return;
    const at = outbox.reserve(packetBytes);
    if (at < 0) return;
    outbox.bytes.fill(0, at, at + packetBytes);
    outbox.bytes[at + 20] = this.#epoch.number;
    outbox.commit(kindOfCard(0), this.#epoch.number);
    this.host.rang();
  }

  /** Nothing of an epoch leaves a protected guest that its standby did not say to have. */
  #checkOutput(): void {
    const bytes = this.#ground.takePackets();
    const { phase } = this.host.status();
    if (phase !== 'protected' && phase !== 'seeding') return;
    for (let at = 0; at < bytes.length; at += packetBytes) {
      const number = bytes[at + 20] as number;
      if (number > 0 && number > this.#claimed)
        throw new Error(`output of epoch ${number} left, S has ${this.#claimed}`);
    }
  }

  async #deliver(pieces: readonly Piece[]): Promise<void> {
    const link = this.#link as FakeLink;
    const random = this.#random;
    if (random(20) === 0) link.fill(pick(streams, random));
    for (const { stream, bytes } of pieces) {
      if (this.#watcher.isLogging)
        this.#watcher.log(`  ${stream}: ${bytes.length} bytes ${Buffer.from(bytes.subarray(0, 40)).toString('hex')}`);
      if (stream === 'control') this.#hear(bytes);
      link.deliver(stream, bytes);
    }
    if (random(3) > 0) await this.#ground.settle();
    if (random(4) === 0) {
      link.drain();
      this.#ground.time.pass(random(20));
    }
    this.#checkOutput();
  }

  /** Counts along, believing nobody, what the standby says to have. */
  #hear(bytes: Uint8Array): void {
    try {
      this.#reader.push(bytes);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
    }
  }

  #say(message: Message): void {
    this.#toSay.push(piece('secondary', firstTerm, message));
  }

  /** What an honest standby answers. */
  #said({ message }: Frame): void {
    this.#watcher.log(`    says ${message.kind}`);
    this.#watcher.count(`says ${message.kind}`);
    const random = this.#random;
    switch (message.kind) {
      case 'hello':
        if (random(10) === 0) this.#say({ kind: 'refusal', reason: 'its disk is smaller' });
        else this.#say({ kind: 'welcome', shape });
        return;
      case 'heartbeat':
        this.#say({ kind: 'heartbeat', clock: 7, echo: message.clock, laidBytes: 0 });
        return;
      case 'disk-compare': {
        const { epoch, disk, offset, lengthBytes } = message;
        const data = new Uint8Array(Math.ceil(lengthBytes / comparedBlockBytes) * hashBytes);
        if (random(4) === 0) data[random(data.length)] = 1;
        this.#say({ kind: 'disk-hashes', epoch, disk, offset, data });
        return;
      }
      case 'disk-origin': {
        // What it was is known at times, and fits, or nearly.
        const known = new Uint8Array(generationBytes + random(3)).fill(random(2));
        this.#say({ kind: 'disk-history', epoch: message.epoch, data: random(2) === 0 ? known : new Uint8Array(0) });
        return;
      }
      case 'disk-generation':
        this.#say(message);
        return;
      case 'disk-sync':
        this.#say({ kind: 'disk-durable', epoch: message.epoch });
        return;
      case 'checkpoint-request':
        this.#say({ kind: 'checkpoint-reply', epoch: message.epoch });
        return;
      case 'vmstate-size': {
        const { epoch } = message;
        if (epoch === 0) this.#say({ kind: 'checkpoint-ready', epoch });
        else {
          this.#say({ kind: 'vmstate-received', epoch });
          this.#say({ kind: 'vmstate-loaded', epoch });
        }
        return;
      }
      case 'end':
        this.#say({ kind: 'ended' });
        return;
      default:
        return;
    }
  }

  /** Something that a standby may say, but not now. */
  #foreign(): Piece {
    const random = this.#random;
    const epoch = epochOf(Math.max(0, this.#epoch.number + random(3) - 1));
    const now = this.#ground.time.now;
    const messages: readonly Message[] = [
      { kind: 'welcome', shape },
      { kind: 'refusal', reason: 'no \u001b[2J' },
      { kind: 'end', reason: pick(['unprotect', 'power-off', 'stopped'] as const, random), exitCode: random(300) },
      {
        kind: 'end',
        reason: 'error',
        exitCode: random(300),
        ...(random(2) === 0 ? {} : { why: '\u001b[2J'.repeat(random(64)) }),
      },
      { kind: 'ended' },
      {
        kind: 'heartbeat',
        clock: random(9),
        echo: pick([now, now + 1, now - 100, now - 1e6, -1, Number.NaN], random),
        laidBytes: pick([0, 1, 2 ** 52], random),
      },
      { kind: 'checkpoint-wanted', why: 0 },
      { kind: 'checkpoint-ready', epoch },
      { kind: 'checkpoint-reply', epoch },
      { kind: 'vmstate-received', epoch },
      { kind: 'vmstate-loaded', epoch },
      { kind: 'disk-history', epoch, data: new Uint8Array(random(40)).fill(random(256)) },
      { kind: 'disk-generation', epoch, data: new Uint8Array(pick([0, generationBytes, 64], random)) },
      { kind: 'disk-durable', epoch },
      {
        kind: 'disk-hashes',
        epoch,
        disk: random(3),
        offset: pick([0, 65_536, diskBytes], random),
        data: new Uint8Array(pick([0, 31, 32, 96, 512], random)),
      },
    ];
    return piece('secondary', firstTerm + (random(6) === 0 ? random(3) - 1 : 0), pick(messages, random));
  }
}

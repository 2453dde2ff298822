import { generationBytes } from '../../../src/colo/disk/history/history.ts';
import type { ListenOptions } from '../../../src/colo/link/peer-listener.ts';
import { decodeState } from '../../../src/colo/machine/checkpoint-state.ts';
import type { Frame } from '../../../src/colo/protocol/frame.ts';
import { FrameReader } from '../../../src/colo/protocol/frame-reader.ts';
import { type StreamName, streams } from '../../../src/colo/protocol/message-table.ts';
import { isDiskQuestion, type Message, protocolVersion } from '../../../src/colo/protocol/messages.ts';
import { epoch as epochOf } from '../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../src/colo/protocol/protocol-error.ts';
import { Calls } from '../../../src/colo/side/calls.ts';
import type { ColoCalls, CommonMachineCalls, SecondaryMachineCalls } from '../../../src/colo/side/machine-calls.ts';
import { SecondaryHost } from '../../../src/colo/side/secondary/secondary-host.ts';
import { SignsOfLife } from '../../../src/colo/side/signs-of-life.ts';
import { pageSize } from '../../../src/memory/address.ts';
import { maxEncodedBytes, PageEncoder } from '../../../src/memory/page-codec.ts';
import type { Random } from '../fuzz-target.ts';
import { FakeLink } from './fake-link.ts';
import {
  defect,
  diskBytes,
  diskLogBytes,
  firstTerm,
  type PeerGround,
  portPair,
  ramPages,
  shape,
} from './peer-ground.ts';
import { type Piece, pick, piece, spoilt, type Way, ways } from './spoiler.ts';

/** Who gets what a case counts and tells. */
export interface CaseWatcher {
  count(name: string): void;
  log(line: string): void;
  /** Somebody reads that. */
  readonly isLogging: boolean;
}

/** How a standby may be when nobody says anything any more. */
const decided: readonly string[] = ['listening', 'claiming', 'going-live', 'live', 'refused', 'failed', 'ended'];

/** A real standby, and a primary that is honest until it is not. */
export async function standbyCase(ground: PeerGround, random: Random, watcher: CaseWatcher): Promise<void> {
  ground.begin(random);
  const rig = new StandbyRig(ground, watcher);
  try {
    await rig.host.start();
    const script = honestPrimary(ground, random);
    const wrongAt = random(script.length + 1);
    await rig.play(script, wrongAt, random);
    await rig.comeToRest(random);
    rig.check();
    if (random(16) === 0) ground.checkReadOnlyDisk();
  } finally {
    rig.host.close();
    await rig.calls.call('discard', undefined).catch(() => {});
    await ground.settle();
  }
  ground.check();
}

class StandbyRig {
  readonly host: SecondaryHost;
  readonly calls: Calls<SecondaryMachineCalls, ColoCalls>;
  readonly #ground: PeerGround;
  readonly #watcher: CaseWatcher;
  readonly #ledger = new Ledger();
  readonly #errors: string[] = [];
  #linked: ListenOptions['linked'] = () => {};
  #link: FakeLink | undefined;

  constructor(ground: PeerGround, watcher: CaseWatcher) {
    this.#ground = ground;
    this.#watcher = watcher;
    const ownShape = { ...shape, cpus: 16, memoryBytes: 2 ** 40, tscScaling: true };
    const [ours, theirs] = portPair();
    this.calls = new Calls(ours, {} as never);
    new Calls<ColoCalls, Omit<SecondaryMachineCalls, keyof CommonMachineCalls> & Pick<CommonMachineCalls, 'exit'>>(
      theirs,
      {
        shape: () => ownShape,
        make: () => ({ memory: ground.ram, devices: ground.devices, io: ground.io }),
        keepBoot: ({ commandLine }) => ({ ...ground.boot, commandLine }),
        rehearse: (state) => {
          decodeState(state);
          return 0;
        },
        discard: () => undefined,
        revive: ({ state }) => {
          const { exitCode } = decodeState(state);
          return { loadMs: 0, movedMs: 0, ...(exitCode === undefined ? {} : { exitCode }) };
        },
        keepChanges: () => undefined,
        announce: () => undefined,
        park: () => undefined,
        rollBack: () => undefined,
        start: () => 0,
        hold: () => ({}),
        emerge: () => 0,
        resume: () => undefined,
        replay: () => undefined,
        succeed: () => undefined,
        exit: () => undefined,
      },
    );
    this.host = new SecondaryHost(
      { ...ground.birth(), listen: { host: '127.0.0.1', port: 1 } },
      {
        calls: this.calls,
        shape: ownShape,
        signs: new SignsOfLife(),
        again: () => {},
        listen: async ({ linked }) => {
          this.#linked = linked;
          return { port: 1, close: () => {} };
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

  /** Says all of the script, of which something goes wrong at `wrongAt`. */
  async play(script: readonly Piece[], wrongAt: number, random: Random): Promise<void> {
    const link = new FakeLink('secondary', (frame) => this.#said(frame));
    this.#link = link;
    this.#linked(link.link);
    const pieces = [...script];
    for (let at = 0; at < pieces.length; at++) {
      const honest = pieces[at] as Piece;
      if (at !== wrongAt) {
        await this.#deliver([honest], random);
        continue;
      }
      const how = random(24);
      if (how === 0) {
        this.#note('silence');
        return;
      }
      if (how <= 2) {
        this.#cut(random);
        if (how === 1) return;
        continue;
      }
      if (how === 3) {
        this.#note('a command');
        this.host.command(
          pick(
            [{ name: 'failover', sure: true }, { name: 'lost-heartbeat', sure: false }, { name: 'unprotect' }],
            random,
          ),
        );
        continue;
      }
      if (how === 4) {
        this.#note('a late word');
        await this.#pass(random(400));
      }
      const way = pick(ways, random) as Way;
      this.#note(way);
      const next = pieces[at + 1];
      await this.#deliver(
        spoilt(way, honest, next, () => foreign(this.#ground, random), random),
        random,
      );
      if (way === 'swapped') at++;
      // It goes wrong once more, perhaps.
      if (random(3) === 0) wrongAt = at + 1 + random(6);
    }
  }

  /** Nobody says anything more; then an operator looks after it. */
  async comeToRest(random: Random): Promise<void> {
    for (let count = 0; count < 4; count++) await this.#pass(3000);
    if (this.host.status().phase === 'claiming') {
      this.host.command({ name: 'failover', sure: false });
      for (let count = 0; count < 3; count++) await this.#pass(1000);
      if (this.host.status().phase === 'claiming') throw new Error('an operator says who goes on, and it does not');
    }
    void random;
  }

  check(): void {
    const { phase, link } = this.host.status();
    this.#watcher.count(`standby ${phase}`);
    if (!decided.includes(phase)) throw new Error(`it stays ${phase}`);
    // Its process is about to end.
    if (phase === 'ended') return;
    if (link !== undefined) throw new Error(`a peer that says nothing is held on to while it is ${phase}`);
    if (this.#link?.isClosed === false) throw new Error('a connection is left open');
    const [error] = this.#errors;
    if (error !== undefined) throw new Error(error);
  }

  #note(what: string): void {
    this.#watcher.count(`way ${what}`);
    this.#watcher.log(`  ${what}`);
  }

  async #pass(ms: number): Promise<void> {
    this.#link?.drain();
    this.#ground.time.pass(ms);
    await this.#ground.settle();
  }

  #cut(random: Random): void {
    const how = pick(['end', 'reset', 'lost'] as const, random);
    const which = random(2) === 0 ? streams : [pick(streams, random)];
    this.#note(which.length === 1 ? 'one stream cut' : 'all cut');
    for (const stream of which) this.#link?.cut(stream, how);
  }

  async #deliver(pieces: readonly Piece[], random: Random): Promise<void> {
    const link = this.#link as FakeLink;
    if (random(20) === 0) link.fill(pick(streams, random));
    for (const { stream, bytes } of pieces) {
      if (this.#watcher.isLogging)
        this.#watcher.log(`  ${stream}: ${bytes.length} bytes ${Buffer.from(bytes.subarray(0, 40)).toString('hex')}`);
      this.#ledger.came(stream, bytes);
      link.deliver(stream, bytes);
    }
    const logBytes = this.host.status().disk?.logBytes ?? 0;
    if (logBytes > diskLogBytes + (1 << 21)) throw new Error(`the disk log has ${logBytes} bytes`);
    if (random(3) > 0) await this.#ground.settle();
    if (random(4) === 0) {
      link.drain();
      this.#ground.time.pass(random(30));
    }
  }

  #said({ message }: Frame): void {
    this.#watcher.log(`    says ${message.kind}`);
    this.#watcher.count(`says ${message.kind}`);
    // What came before belongs to nothing.
    if (message.kind === 'welcome') this.#ledger.clear();
    if (message.kind !== 'vmstate-received' && message.kind !== 'checkpoint-ready') return;
    const missing = this.#ledger.missing(message.epoch);
    if (missing !== undefined) this.#errors.push(`it says ${message.kind} of epoch ${message.epoch}: ${missing}`);
  }
}

/** What came, counted by somebody who believes nobody. */
class Ledger {
  readonly #items = new Map<string, number>();
  readonly #ends = new Map<string, number>();
  readonly #readers = new Map<StreamName, FrameReader>();

  constructor() {
    for (const stream of streams) {
      this.#readers.set(stream, new FrameReader(stream, 'primary', ({ message }) => this.#take(stream, message)));
    }
  }

  clear(): void {
    this.#items.clear();
    this.#ends.clear();
  }

  came(stream: StreamName, bytes: Uint8Array): void {
    try {
      this.#readers.get(stream)?.push(bytes);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
    }
  }

  /** Why that epoch's checkpoint is not whole; undefined if it is. */
  missing(epoch: number): string | undefined {
    for (const stream of ['pages', 'disk', 'packets']) {
      const end = this.#ends.get(`${stream} ${epoch}`);
      if (end === undefined) return `its ${stream} never ended`;
      const items = this.#items.get(`${stream} ${epoch}`) ?? 0;
      if (end !== items) return `${items} of ${end} came on the ${stream} stream`;
    }
    const size = this.#ends.get(`state ${epoch}`);
    const bytes = this.#items.get(`state ${epoch}`) ?? 0;
    return size === bytes ? undefined : `${bytes} bytes of ${size} of state`;
  }

  #take(stream: StreamName, message: Message): void {
    if (!('epoch' in message)) return;
    const { kind, epoch } = message;
    if (kind === 'vmstate-size') this.#announce(`state ${epoch}`, message.value);
    else if (kind === 'vmstate') this.#add(`state ${epoch}`, message.data.length);
    else if (kind === 'pages-end' || kind === 'disk-end' || kind === 'packets-end')
      this.#announce(`${stream} ${epoch}`, message.items);
    else if (kind !== 'output-left' && !isDiskQuestion(message)) this.#item(`${stream} ${epoch}`);
  }

  /** Behind its end nothing may be said of an epoch, which was whole before. */
  #item(what: string): void {
    if (!this.#ends.has(what)) this.#add(what, 1);
  }

  /** What is said once more is nothing that may be said, and the epoch was whole by what was said first. */
  #announce(what: string, count: number): void {
    if (!this.#ends.has(what)) this.#ends.set(what, count);
  }

  #add(what: string, count: number): void {
    this.#items.set(what, (this.#items.get(what) ?? 0) + count);
  }
}

/** All that a primary says from its first word on, for some checkpoints. */
function honestPrimary(ground: PeerGround, random: Random): Piece[] {
  const pieces: Piece[] = [];
  const say = (message: Message): void => {
    pieces.push(piece('primary', firstTerm, message));
  };
  const beat = (): void => say({ kind: 'heartbeat', clock: ground.time.now, echo: Number.NaN, laidBytes: 0 });
  // At times it is another pair's, which is refused.
  const pair = random(16) === 0 ? 'db' : 'web';
  say({ kind: 'hello', version: protocolVersion, pair, shape, detectMs: 200, arbiter: 'manual', comparing: 0 });
  beat();
  const epoch0 = epochOf(0);
  say({ kind: 'disk-origin', epoch: epoch0 });
  say({ kind: 'disk-generation', epoch: epoch0, data: new Uint8Array(generationBytes).fill(random(256)) });
  for (let count = random(3); count > 0; count--) {
    say({ kind: 'disk-compare', epoch: epoch0, disk: 0, offset: 65_536 * random(2), lengthBytes: 65_536 });
  }
  if (random(2) === 0) for (const message of whatItBoots(random)) say(message);
  for (let number = 0, last = random(4); number <= last; number++) {
    const epoch = epochOf(number);
    if (number > 0) say({ kind: 'checkpoint-request', epoch });
    const later: Message[] = [];
    let written = 0;
    for (let count = random(4); count > 0; count--, written++) later.push(someChange(number, random));
    later.push({ kind: 'disk-end', epoch, items: written });
    let packets = 0;
    for (let count = random(4); count > 0; count--, packets++) later.push(somePacket(number, random));
    later.push({ kind: 'packets-end', epoch, items: packets });
    say({ kind: 'vmstate-send', epoch, comparing: 0 });
    let items = 0;
    for (let count = random(3); count > 0; count--, items++) say({ kind: 'pages', epoch, data: somePages(random) });
    say({ kind: 'pages-end', epoch, items });
    const half = random(ground.state.length);
    say({ kind: 'vmstate', epoch, data: ground.state.subarray(0, half) });
    say({ kind: 'vmstate', epoch, data: ground.state.subarray(half) });
    for (const message of later) say(message);
    say({ kind: 'vmstate-size', epoch, value: ground.state.length });
    if (number === 0) say({ kind: 'protected' });
    else if (random(2) === 0) say({ kind: 'output-left', epoch });
    beat();
  }
  const last = random(9);
  if (last < 3) say({ kind: 'end', reason: pick(['unprotect', 'power-off', 'stopped', 'error'], random), exitCode: 0 });
  else if (last < 5) say({ kind: 'take-over', why: 'disk root cannot be written: \u001b[2J' });
  return pieces;
}

/** A kernel and an initrd, or a kernel alone. */
function whatItBoots(random: Random): Message[] {
  const files = [random(20_000), random(2) === 0 ? 0 : random(20_000)];
  const [kernel = 0, initrd = 0] = files;
  return [
    {
      ...{ kind: 'boot-begin', kernel: { name: 'vmlinuz', sizeBytes: kernel }, commandLine: 'quiet', kaslr: false },
      ...(initrd === 0 ? {} : { initrd: { name: 'root.cpio', sizeBytes: initrd } }),
    },
    ...files
      .filter((sizeBytes) => sizeBytes > 0)
      .map((sizeBytes): Message => ({ kind: 'boot-bytes', data: new Uint8Array(sizeBytes) })),
  ];
}

function someChange(number: number, random: Random): Message {
  const epoch = epochOf(number);
  const lengthBytes = 512 * (1 + random(16));
  const place = { epoch, disk: 0, offset: 512 * random((diskBytes - lengthBytes) / 512 + 1) };
  if (random(4) === 0) return { kind: pick(['disk-discard', 'disk-zeroes'] as const, random), ...place, lengthBytes };
  return { kind: 'disk-write', ...place, data: new Uint8Array(lengthBytes).fill(1 + random(255)) };
}

function somePacket(number: number, random: Random): Message {
  const data = new Uint8Array(60 + random(100)).fill(random(256));
  return { kind: pick(['output', 'input'] as const, random), epoch: epochOf(number), card: 0, data };
}

function somePages(random: Random): Uint8Array {
  const first = random(ramPages);
  const count = 1 + random(ramPages - first);
  const bytes = new Uint8Array(count * pageSize).fill(random(2) === 0 ? 0 : random(256));
  const numbers = Uint32Array.from({ length: count }, (_, index) => first + index);
  const encoded = new Uint8Array(maxEncodedBytes(count));
  return encoded.slice(0, new PageEncoder().encode({ numbers, bytes }, encoded));
}

/** Something that a primary may say, but not now. */
function foreign(ground: PeerGround, random: Random): Piece {
  const number = random(5);
  const epoch = epochOf(number);
  const data = new Uint8Array(random(600)).fill(random(256));
  const messages: readonly Message[] = [
    {
      kind: 'hello',
      version: random(3),
      pair: pick(['web', 'db', ''], random),
      shape,
      detectMs: 200,
      arbiter: 'manual',
      comparing: 0,
    },
    { kind: 'refusal', reason: 'no \u001b[2J' },
    { kind: 'protected' },
    { kind: 'end', reason: 'error', exitCode: random(300) },
    { kind: 'ended' },
    { kind: 'take-over', why: '\u001b[2J'.repeat(random(64)) },
    { kind: 'handover', epoch },
    { kind: 'handover-done', epoch },
    {
      kind: 'heartbeat',
      clock: ground.time.now + random(1000) - 500,
      echo: random(2) === 0 ? Number.NaN : ground.time.now,
      laidBytes: random(5),
    },
    { kind: 'checkpoint-request', epoch },
    { kind: 'vmstate-send', epoch, comparing: 0 },
    { kind: 'vmstate-size', epoch, value: pick([0, 1, ground.state.length, 2 ** 28, 2 ** 50], random) },
    pick(whatItBoots(random), random),
    { kind: 'boot-bytes', data: data.subarray(0, 1 << 20) },
    { kind: 'pages', epoch, data: random(2) === 0 ? data : somePages(random) },
    { kind: 'pages-end', epoch, items: random(4) },
    { kind: 'vmstate', epoch, data },
    someChange(number, random),
    { kind: 'disk-write', epoch, disk: random(4), offset: 512 * random(1000), data },
    {
      kind: 'disk-zeroes',
      epoch,
      disk: random(3),
      offset: 0,
      lengthBytes: pick([0, 1, 512, diskBytes, 2 ** 52], random),
    },
    { kind: 'disk-end', epoch, items: random(4) },
    {
      kind: 'disk-compare',
      epoch: epochOf(random(2)),
      disk: random(3),
      offset: 4096 * random(64),
      lengthBytes: 65_536 * random(20),
    },
    { kind: 'disk-origin', epoch },
    { kind: 'disk-generation', epoch, data: new Uint8Array(pick([0, generationBytes, 64], random)) },
    { kind: 'disk-sync', epoch },
    somePacket(number, random),
    { kind: 'output', epoch, card: random(300), data },
    { kind: 'packets-end', epoch, items: random(4) },
    { kind: 'output-left', epoch },
  ];
  return piece('primary', firstTerm + (random(6) === 0 ? random(3) - 1 : 0), pick(messages, random));
}

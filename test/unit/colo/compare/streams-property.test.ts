import { test } from 'tap';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import { CompareRig } from '../../../support/compare-rig.ts';
import { tcpPacket } from '../../../support/packets.ts';
import { randomNumbers } from '../../../support/random.ts';

// Two guests say the same, each cut, sent again, reordered and acknowledged in its own way. What leaves is checked against
// what S has said by then, byte for byte, by a model that knows nothing of the comparison.

type Random = (limit: number) => number;

/** What one packet says; places count from the first byte of the stream. */
interface Said {
  readonly at: number;
  readonly length: number;
  readonly acknowledgement: number;
  readonly flags: number;
}

const { syn, fin, ack } = tcpFlag;
/** What fits into a packet. */
const longest = 60_000;

/** A guest's end of a connection. */
class Sender {
  readonly #random: Random;
  readonly content: Uint8Array;
  readonly #lastAck: number;
  readonly #swaps: boolean;
  #sent = 0;
  #ack = 0;
  #isClosed = false;
  /** Segments that were overtaken. */
  #late: Said[] = [];

  constructor(random: Random, content: Uint8Array, lastAck: number, swaps: boolean) {
    this.#random = random;
    this.content = content;
    this.#lastAck = lastAck;
    this.#swaps = swaps;
  }

  get isDone(): boolean {
    return this.#isClosed && this.#ack === this.#lastAck && this.#late.length === 0;
  }

  /** A checkpoint: it is the other one, but for the content. */
  become(other: Sender): void {
    this.#sent = other.#sent;
    this.#ack = other.#ack;
    this.#isClosed = other.#isClosed;
    this.#late = [...other.#late];
  }

  next(): Said {
    const random = this.#random;
    const overtaken = this.#late.shift();
    if (overtaken !== undefined) return overtaken;
    if (random(3) === 0) this.#ack = Math.min(this.#lastAck, this.#ack + random(3000));
    const left = this.content.length - this.#sent;
    switch (random(8)) {
      case 0:
        return this.#say(this.#sent, 0);
      case 1:
        return this.#say(this.#sent - 1, 0);
      case 2: {
        // Again, from anywhere, perhaps with something new behind it.
        const at = random(this.#sent + 1);
        const length = Math.min(this.content.length - at, longest, random(this.#sent - at + 2000));
        this.#sent = Math.max(this.#sent, at + length);
        return this.#say(at, length);
      }
      case 3:
        if (this.#swaps && left > 2) {
          const half = Math.min(longest, left >> 1);
          const [first, second] = [1 + random(half), 1 + random(half)];
          this.#late.push(this.#say(this.#sent, first));
          this.#sent += first + second;
          return this.#say(this.#sent - second, second);
        }
        break;
      case 4:
        if (this.#isClosed) return this.#say(this.content.length, 0, ack | fin);
        break;
    }
    if (left > 0) {
      const length = Math.min(left, 1 + random([2, 100, 1460, 30_000][random(4)] as number));
      this.#sent += length;
      return this.#say(this.#sent - length, length);
    }
    if (this.#isClosed && this.#ack < this.#lastAck) this.#ack = this.#lastAck;
    this.#isClosed = true;
    return this.#say(this.content.length, 0, ack | fin);
  }

  #say(at: number, length: number, flags: number = ack): Said {
    return { at, length, acknowledgement: this.#ack, flags };
  }
}

interface Order {
  readonly seed: number;
  readonly checkpoints: boolean;
  /** The comparison sees how the connection is opened. */
  readonly fromSyn: boolean;
  /** Changes what S's guest says. */
  readonly spoil?: (content: Uint8Array, random: Random) => void;
  readonly lessAck?: number;
}

interface Outcome {
  readonly rig: CompareRig;
  /** Of P's packets, those that never left. */
  readonly held: readonly Said[];
}

/** A conversation. @throws if something leaves that S has not said */
function converse({ seed, checkpoints, fromSyn, spoil, lessAck = 0 }: Order): Outcome {
  const random = randomNumbers(seed);
  const rig = new CompareRig();
  const length = random([10, 5000, 100_000][random(3)] as number) + 1;
  const content = new Uint8Array(length).map(() => random(256));
  const theirs = content.slice();
  spoil?.(theirs, random);
  const lastAck = random(50_000) + 1;
  const isn = [random(2 ** 32), 2 ** 32 - 1 - random(length), 2 ** 31 - 1 - random(length)][random(3)] as number;
  const firstAck = [random(2 ** 32), 2 ** 32 - random(lastAck)][random(2)] as number;
  const primary = new Sender(random, content, lastAck, fromSyn);
  const secondary = new Sender(random, theirs, lastAck - lessAck, fromSyn);
  /** P's packets that have not left, by handle. */
  const held = new Map<number, Said>();
  /** What S has said of each byte; what it acknowledged; whether it has ended. */
  const said = new Uint8Array(length);
  let saidAck = fromSyn ? 0 : -1;
  let saidEnd = false;
  let [sent, sentAck, sentEnd] = [0, saidAck, false];

  const packetOf = ({ at, length: bytes, acknowledgement, flags }: Said, source: Uint8Array): Uint8Array =>
    tcpPacket({
      sequence: (isn + 1 + at) >>> 0,
      acknowledgement: (firstAck + acknowledgement) >>> 0,
      flags,
      payload: source.subarray(at, at + bytes),
    });
  const checkReleases = (): void => {
    for (const handle of rig.released.splice(0)) {
      const packet = held.get(handle);
      if (packet === undefined) throw new Error(`packet ${handle} leaves twice`);
      held.delete(handle);
      if (packet.acknowledgement > saidAck) throw new Error('an acknowledgement runs ahead of S');
      if ((packet.flags & fin) !== 0 && !saidEnd) throw new Error('a FIN leaves that S has not sent');
      for (let at = packet.at; at < packet.at + packet.length; at++) {
        if (said[at] === 0) throw new Error(`byte ${at} leaves, which S has not said`);
      }
    }
  };
  if (fromSyn) {
    const opening = { acknowledgement: firstAck >>> 0, flags: syn | ack };
    const mine = tcpPacket({ ...opening, sequence: isn });
    const its = tcpPacket({ ...opening, sequence: random(2 ** 32) });
    if (random(2) === 0) [rig.p(mine), rig.s(its)];
    else [rig.s(its), rig.p(mine)];
    if (rig.released.splice(0).length !== 1) throw new Error('the SYN does not leave');
  }
  for (let left = 20_000; !(primary.isDone && secondary.isDone); left--) {
    if (left === 0) throw new Error('the conversation does not end');
    if (checkpoints && random(12) === 0) {
      rig.checkpoint();
      held.clear();
      secondary.become(primary);
      said.fill(1, 0, sent);
      said.fill(0, sent);
      saidAck = sentAck;
      saidEnd = sentEnd;
    }
    if (random(2) === 0) {
      const packet = primary.next();
      sent = Math.max(sent, packet.at + packet.length);
      sentAck = Math.max(sentAck, packet.acknowledgement);
      sentEnd ||= (packet.flags & fin) !== 0;
      held.set(rig.p(packetOf(packet, content)), packet);
    } else {
      const packet = secondary.next();
      // Of a spoilt byte S has said another one.
      for (let at = packet.at; at < packet.at + packet.length; at++) if (theirs[at] === content[at]) said[at] = 1;
      saidAck = Math.max(saidAck, packet.acknowledgement);
      saidEnd ||= (packet.flags & fin) !== 0 && theirs.length === content.length;
      rig.s(packetOf(packet, theirs));
    }
    checkReleases();
  }
  return { rig, held: [...held.values()] };
}

const cases = 150;

for (const [what, checkpoints, fromSyn] of [
  ['in one epoch', false, true],
  ['through checkpoints', true, true],
  ['older than the comparison', false, false],
] as const) {
  test(`the same stream is equal, however it is said: ${what}`, async (t) => {
    for (let seed = 1; seed <= cases; seed++) {
      const { rig, held } = converse({ seed, checkpoints, fromSyn });
      if (rig.divergences.length > 0) t.bailout(`seed ${seed}: ${rig.text}`);
      if (held.length > 0) t.bailout(`seed ${seed}: ${JSON.stringify(held[0])} never leaves`);
      const { waiting, storedBytes } = rig.comparator.sizes;
      if (waiting > 0 || storedBytes > 0) t.bailout(`seed ${seed}: ${waiting} connections, ${storedBytes} bytes wait`);
    }
    t.pass();
  });
}

test('one byte that differs wants a checkpoint, and never leaves', async (t) => {
  for (let seed = 1; seed <= cases; seed++) {
    let place = -1;
    const spoil = (content: Uint8Array, random: Random): void => {
      place = random(content.length);
      content[place] = (content[place] as number) ^ (1 + random(255));
    };
    const { rig, held } = converse({ seed, checkpoints: false, fromSyn: true, spoil });
    if (rig.divergences.length !== 1) t.bailout(`seed ${seed}: ${rig.divergences.length} checkpoints are wanted`);
    const [divergence] = rig.divergences;
    if (divergence?.reason !== 'payload' || divergence.position !== place) {
      t.bailout(`seed ${seed}: byte ${place} differs, but ${rig.text}`);
    }
    if (!held.some(({ at, length }) => at <= place && place < at + length)) t.bailout(`seed ${seed}: it has left`);
  }
  t.pass();
});

test('an acknowledgement that S never sends never leaves', async (t) => {
  for (let seed = 1; seed <= cases; seed++) {
    const { rig, held } = converse({ seed, checkpoints: false, fromSyn: true, lessAck: 1 });
    if (held.length === 0) t.bailout(`seed ${seed}: all has left`);
    rig.comparator.scan(3000);
    if (rig.reasons.join() !== 'timeout') t.bailout(`seed ${seed}: ${rig.text}`);
  }
  t.pass();
});

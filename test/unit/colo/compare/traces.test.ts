import { test } from 'tap';
import { defaultCompareSettings } from '../../../../src/colo/compare/settings.ts';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { distance } from '../../../../src/colo/packet/sequence.ts';
import { longAt, putLong, tcpFlag } from '../../../../src/colo/packet/wire.ts';
import { CompareRig } from '../../../support/compare-rig.ts';
import { readPcap } from '../../../support/pcap.ts';
import { randomNumbers } from '../../../support/random.ts';

// The same exchange, as real kernels said it at different times: test/golden/traces.

const names = ['offload', 'segments', 'slow'] as const;
const view = new PacketView(0);

function tcpFrames(name: string): Uint8Array[] {
  const frames = readPcap(new URL(`../../../golden/traces/${name}.pcap`, import.meta.url));
  return frames.filter((frame) => view.read(frame, 0, frame.length) === packetKind.tcp);
}

/** Connections by IP version and the client's port. */
function connectionOf(frame: Uint8Array): string {
  view.read(frame, 0, frame.length);
  return `${view.ip.version} ${view.destinationPort}`;
}

/** What the SYN of each connection says. */
function openings(frames: readonly Uint8Array[]): Map<string, { sequence: number; acknowledgement: number }> {
  const found = new Map<string, { sequence: number; acknowledgement: number }>();
  for (const frame of frames) {
    const name = connectionOf(frame);
    const { sequence, acknowledgement, tcpFlags } = view;
    if ((tcpFlags & tcpFlag.syn) !== 0) found.set(name, { sequence, acknowledgement });
  }
  return found;
}

/** S's frames as if its client had been P's, and with P's sequence numbers, but for the SYN. */
function translated(frames: readonly Uint8Array[], primary: readonly Uint8Array[]): Uint8Array[] {
  const [mine, theirs] = [openings(primary), openings(frames)];
  return frames.map((frame) => {
    const copy = Uint8Array.from(frame);
    const name = connectionOf(copy);
    const [to, from] = [mine.get(name), theirs.get(name)];
    if (to === undefined || from === undefined) throw new Error(`connection ${name} has no SYN`);
    const at = view.transport;
    if ((view.tcpFlags & tcpFlag.syn) === 0) putLong(copy, at + 4, longAt(copy, at + 4) + to.sequence - from.sequence);
    putLong(copy, at + 8, longAt(copy, at + 8) + to.acknowledgement - from.acknowledgement);
    return copy;
  });
}

/**
 * Says all of both, each in its order, mixed as the seed has it. After its SYN, S has nothing to say on a connection before its
 * client has heard P's SYN.
 */
function compare(primary: readonly Uint8Array[], secondary: readonly Uint8Array[], seed: number): CompareRig {
  const random = randomNumbers(seed);
  const rig = new CompareRig({}, () => 'compare', 0);
  const heard = new Set<string>();
  const mayFollow = (frame: Uint8Array): boolean =>
    heard.has(connectionOf(frame)) || (view.tcpFlags & tcpFlag.syn) !== 0;
  for (let [mine, theirs] = [0, 0]; mine < primary.length || theirs < secondary.length; ) {
    const [next, other] = [primary[mine], secondary[theirs]];
    if (next !== undefined && (other === undefined || random(2) === 0 || !mayFollow(other))) {
      heard.add(connectionOf(next));
      rig.p(next);
      mine++;
    } else if (other !== undefined) {
      rig.s(other);
      theirs++;
    }
  }
  return rig;
}

/** Whether a packet of S's is another one, by its place in its connection; undefined: S says nothing from here on. */
type Spoil = (frame: Uint8Array, of: Connection) => Uint8Array | undefined;

/** What a spoiler knows of the connection. */
interface Connection {
  /** Packets with data that came before, and how many there are. */
  readonly dataBefore: number;
  readonly dataFrames: number;
  /** The greatest acknowledgement that P says. */
  readonly acknowledgement: number;
}

const optionKind = { end: 0, nop: 1, mss: 2, windowScale: 3, sackPermitted: 4, timestamps: 8 } as const;

function withFlags(frame: Uint8Array, flags: number): Uint8Array {
  view.read(frame, 0, frame.length);
  return frame.with(view.transport + 13, flags);
}

function isSyn(frame: Uint8Array): boolean {
  view.read(frame, 0, frame.length);
  return (view.tcpFlags & tcpFlag.syn) !== 0;
}

/** A SYN with one of its options changed; other packets as they are. */
function ofSyn(kind: number, change: (option: Uint8Array) => unknown): Spoil {
  return (frame) => {
    if (!isSyn(frame)) return frame;
    const copy = Uint8Array.from(frame);
    for (let at = view.transport + 20; at < view.payload && copy[at] !== optionKind.end; ) {
      if (copy[at] === kind) change(copy.subarray(at, at + (copy[at + 1] as number)));
      at += copy[at] === optionKind.nop ? 1 : (copy[at + 1] as number);
    }
    return copy;
  };
}

/** In the midst of what there is to say S ends, and says no more. */
function endsWith(flags: number): Spoil {
  return (frame, { dataBefore, dataFrames }) => {
    const middle = dataFrames >> 1;
    view.read(frame, 0, frame.length);
    if (dataBefore === middle && view.payloadBytes > 0) return withFlags(frame, flags);
    return dataBefore > middle ? undefined : frame;
  };
}

const without = (option: Uint8Array): unknown => option.fill(optionKind.nop);

/**
 * What S says otherwise than P in one connection, and what must come of it: why a checkpoint is wanted, or nothing. One that says all
 * it has to say with one packet ends where P does, and lacks acknowledgements alone.
 */
const spoilers: readonly [what: string, spoil: Spoil, reason: string | undefined, reasonOfOne?: string][] = [
  [
    'acknowledges a byte less',
    (frame, { acknowledgement }) => {
      view.read(frame, 0, frame.length);
      const copy = Uint8Array.from(frame);
      if (distance(view.acknowledgement, acknowledgement) >= 0) putLong(copy, view.transport + 8, acknowledgement - 1);
      return copy;
    },
    'timeout',
  ],
  [
    'does not end',
    (frame) => {
      view.read(frame, 0, frame.length);
      return withFlags(frame, view.tcpFlags & ~tcpFlag.fin);
    },
    'timeout',
  ],
  ['ends before P does', endsWith(tcpFlag.fin | tcpFlag.ack), 'end', 'timeout'],
  ['resets', endsWith(tcpFlag.rst | tcpFlag.ack), 'reset'],
  ['is silent', endsWith(tcpFlag.ack), 'timeout'],
  ['scales its window otherwise', ofSyn(optionKind.windowScale, (option) => option.fill(9, 2)), 'options'],
  ['knows no scale of windows', ofSyn(optionKind.windowScale, without), 'options'],
  ['knows no SACK', ofSyn(optionKind.sackPermitted, without), 'options'],
  ['knows no timestamps', ofSyn(optionKind.timestamps, without), 'options'],
  ['takes smaller segments', ofSyn(optionKind.mss, (option) => option.fill(1, 2)), undefined],
];

/** S's frames, spoilt in one connection. */
function spoiltFrames(
  secondary: readonly Uint8Array[],
  primary: readonly Uint8Array[],
  name: string,
  spoil: Spoil,
): Uint8Array[] {
  const hasData = (frame: Uint8Array): boolean => connectionOf(frame) === name && view.payloadBytes > 0;
  const acknowledgement = primary
    .filter((frame) => connectionOf(frame) === name)
    .map((frame) => {
      view.read(frame, 0, frame.length);
      return view.acknowledgement;
    })
    .reduce((most, one) => (distance(one, most) > 0 ? one : most));
  const dataFrames = secondary.filter(hasData).length;
  let dataBefore = 0;
  return secondary.flatMap((frame) => {
    if (connectionOf(frame) !== name) return [frame];
    const after = spoil(frame, { dataBefore, dataFrames, acknowledgement });
    if (hasData(frame)) dataBefore++;
    return after === undefined ? [] : [after];
  });
}

for (const first of names) {
  for (const second of names.filter((name) => name !== first)) {
    test(`${first} and ${second} say the same`, async (t) => {
      const primary = tcpFrames(first);
      const secondary = translated(tcpFrames(second), primary);
      t.equal(openings(primary).size, 6);
      for (let seed = 1; seed <= 20; seed++) {
        const rig = compare(primary, secondary, seed);
        t.equal(rig.text, '');
        t.equal(rig.released.length, primary.length, 'all of it leaves');
        t.match(rig.comparator.sizes, { flows: 6, waiting: 0, storedBytes: 0 });
      }
    });

    for (const [what, spoil, usual, ofOne = usual] of spoilers) {
      test(`${first} and ${second}, which ${what}`, async (t) => {
        const primary = tcpFrames(first);
        const secondary = translated(tcpFrames(second), primary);
        for (const [run, name] of [...openings(primary).keys()].entries()) {
          const hasOne =
            secondary.filter((frame) => connectionOf(frame) === name && view.payloadBytes > 0).length === 1;
          const reason = hasOne ? ofOne : usual;
          const rig = compare(primary, spoiltFrames(secondary, primary, name, spoil), run);
          rig.comparator.scan(defaultCompareSettings.timeoutMs);
          if (reason === undefined) {
            t.equal(rig.text, '');
            t.equal(rig.released.length, primary.length);
          } else {
            t.strictSame(rig.reasons, [reason], rig.text);
            t.ok(rig.divergences[0]?.flow.includes(`:${name.split(' ')[1]}`), rig.text);
            t.ok(rig.released.length < primary.length, 'something of P stays');
          }
        }
      });
    }

    test(`${first} and ${second}, but for one byte`, async (t) => {
      const primary = tcpFrames(first);
      const random = randomNumbers(3);
      for (let run = 0; run < 20; run++) {
        const secondary = translated(tcpFrames(second), primary);
        const withData = secondary.filter((frame) => {
          view.read(frame, 0, frame.length);
          return view.payloadBytes > 0;
        });
        const spoilt = withData[random(withData.length)] as Uint8Array;
        const name = connectionOf(spoilt);
        const place = view.payload + random(view.payloadBytes);
        spoilt[place] = (spoilt[place] as number) ^ 0x40;
        const rig = compare(primary, secondary, run);
        t.strictSame(rig.reasons, ['payload']);
        t.ok(rig.divergences[0]?.flow.includes(`:${name.split(' ')[1]}`), rig.text);
        t.ok(rig.released.length < primary.length);
      }
    });
  }
}

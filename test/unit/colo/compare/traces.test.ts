import { test } from 'tap';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
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

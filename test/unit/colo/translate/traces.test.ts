import { test } from 'tap';
import { transportChecksum } from '../../../../src/colo/packet/checksum.ts';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { distance } from '../../../../src/colo/packet/sequence.ts';
import { longAt, putWord, tcpFlag, wordAt } from '../../../../src/colo/packet/wire.ts';
import { long, tcpPacket, virtioHeader } from '../../../support/packets.ts';
import { readPcap } from '../../../support/pcap.ts';
import { TranslateRig } from '../../../support/translate-rig.ts';

// The same exchange, as real kernels said it at different times, is made into one another: test/golden/traces.

const names = ['offload', 'segments', 'slow'] as const;
const view = new PacketView();
const headerBytes = 12;
const checksumOffset = 16;

interface Opening {
  readonly sequence: number;
  readonly time: number;
}

/** As a card has them: with checksums that are partial, as the kernel left them, or whole. */
function tcpFrames(name: string, isPartial: boolean): Uint8Array[] {
  const frames = readPcap(new URL(`../../../golden/traces/${name}.pcap`, import.meta.url));
  return frames.flatMap((frame) => {
    const packet = new Uint8Array(headerBytes + frame.length);
    packet.set(frame, headerBytes);
    if (view.read(packet, 0, packet.length) !== packetKind.tcp) return [];
    if (isPartial) packet.set(virtioHeader(view.transport - view.ethernet, checksumOffset));
    else putWord(packet, view.checksum, transportChecksum(view));
    return [packet];
  });
}

function read(frame: Uint8Array): { name: string; flags: number; sequence: number; time: number } {
  view.read(frame, 0, frame.length);
  const { timestamps } = view.tcpOptions;
  const time = timestamps === 0 ? 0 : longAt(frame, timestamps);
  return { name: `${view.ip.version} ${view.destinationPort}`, flags: view.tcpFlags, sequence: view.sequence, time };
}

function isOpening(flags: number): boolean {
  return (flags & tcpFlag.syn) !== 0;
}

/** How each connection of a trace begins. */
function openings(frames: readonly Uint8Array[]): Map<string, Opening> {
  const found = new Map<string, Opening>();
  for (const frame of frames) {
    const { name, flags, sequence, time } = read(frame);
    if (isOpening(flags)) found.set(name, { sequence, time });
  }
  return found;
}

/** The client's answer to P's SYN, where S's guest has said the SYN in `answer`. */
function clientAnswers(answer: Uint8Array, { sequence, time }: Opening): Uint8Array {
  view.read(answer, 0, answer.length);
  const { ip, bytes } = view;
  return tcpPacket({
    version: ip.version,
    source: [...bytes.subarray(ip.destination, ip.destination + ip.addressBytes)],
    destination: [...bytes.subarray(ip.source, ip.source + ip.addressBytes)],
    sourcePort: view.destinationPort,
    destinationPort: view.sourcePort,
    sequence: view.acknowledgement,
    acknowledgement: (sequence + 1) | 0,
    options: [1, 1, 8, 10, ...long(1), ...long(time)],
  });
}

function hasRightChecksum(frame: Uint8Array): boolean {
  view.read(frame, 0, frame.length);
  return wordAt(frame, view.checksum) === transportChecksum(view);
}

for (const first of names) {
  for (const second of names.filter((name) => name !== first)) {
    for (const isPartial of [false, true])
      test(`${second} gets the numbers of ${first}, ${isPartial ? 'partial' : 'whole'} checksums`, async (t) => {
        const mine = openings(tcpFrames(first, isPartial));
        const frames = tcpFrames(second, isPartial);
        const theirs = openings(frames);
        const rig = new TranslateRig();
        let translated = 0;
        for (const frame of frames) {
          const before = read(frame);
          t.ok(hasRightChecksum(frame));
          const sent = rig.out(frame);
          if (sent === 'withheld') throw new Error('a packet was withheld');
          const [to, from] = [mine.get(before.name) as Opening, theirs.get(before.name) as Opening];
          if (isOpening(before.flags)) {
            rig.in(clientAnswers(frame, to));
            continue;
          }
          const after = read(sent);
          t.equal(distance(after.sequence, to.sequence), distance(before.sequence, from.sequence));
          t.equal(distance(after.time, to.time), distance(before.time, from.time));
          t.ok(hasRightChecksum(sent));
          translated++;
        }
        t.equal(rig.translator.size, 6);
        t.equal(translated, frames.length - 6);
        t.equal(mine.size, 6);
      });
  }
}

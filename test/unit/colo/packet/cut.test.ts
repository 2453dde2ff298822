import { test } from 'tap';
import { transportChecksum } from '../../../../src/colo/packet/checksum.ts';
import { copyFront, mayBeCut, takeFront } from '../../../../src/colo/packet/cut.ts';
import { PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { tcpFlag, virtioNetHeader, wordAt } from '../../../../src/colo/packet/wire.ts';
import { type TcpParts, tcpPacket, udpPacket } from '../../../support/packets.ts';

const { syn, ack, fin, rst, psh, urg } = tcpFlag;
const times = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];
/** Elsewhere than at the beginning of a buffer. */
const offset = 7;

function cut(parts: TcpParts, bytes: number): { whole: Uint8Array; front: PacketView; rest: PacketView } {
  const packet = tcpPacket(parts);
  const buffer = new Uint8Array(packet.length + 20).fill(0xee);
  buffer.set(packet, offset);
  const rest = new PacketView();
  rest.read(buffer, offset, packet.length);
  const front = new PacketView();
  copyFront(rest, bytes, new Uint8Array(packet.length), front);
  takeFront(rest, bytes);
  return { whole: packet, front, rest };
}

function payloadOf({ bytes, payload, payloadBytes }: PacketView): string {
  return Buffer.from(bytes.subarray(payload, payload + payloadBytes)).toString();
}

/** Everything but what a cut changes. */
function constantsOf({ sourcePort, destinationPort, acknowledgement, window, vlans, tcpOptions, ip }: PacketView) {
  const { windowScale, sackPermitted } = tcpOptions;
  return {
    sourcePort,
    destinationPort,
    acknowledgement,
    window,
    vlans,
    windowScale,
    sackPermitted,
    version: ip.version,
  };
}

test('two packets say what the one did, whatever it is made of', async (t) => {
  const kinds: TcpParts[] = [
    {},
    { partialChecksum: true },
    { version: 6 },
    { version: 6, partialChecksum: true },
    { options: times },
    { ipOptions: [1, 1, 1, 0], tags: [[0x8100, 42]] },
    { version: 6, extensions: [6, 0, 1, 4, 0, 0, 0, 0], firstExtension: 0, options: times },
    { padding: 6 },
  ];
  for (const kind of kinds) {
    for (const bytes of [1, 2, 5, 11, 70, 79]) {
      const payload = 'forty bytes of what a guest had to say, '.repeat(2);
      const parts = { sequence: 0x7fff_fffe, flags: ack | psh | fin, payload, ...kind };
      const { whole, front, rest } = cut(parts, bytes);
      const before = new PacketView();
      before.read(whole, 0, whole.length);
      t.same([payloadOf(front), payloadOf(rest)], [payload.slice(0, bytes), payload.slice(bytes)]);
      t.same([front.sequence, rest.sequence], [before.sequence, (before.sequence + bytes) | 0]);
      t.same([front.tcpFlags, rest.tcpFlags], [ack, ack | psh | fin], 'what is of the end goes with that');
      t.same(rest.end - rest.ip.end, kind.padding ?? 0);
      for (const view of [front, rest]) {
        t.equal(view.kind, packetKind.tcp);
        t.same(constantsOf(view), constantsOf(before));
        t.equal(wordAt(view.bytes, view.checksum), transportChecksum(view));
        t.equal(view.partialChecksum === view.checksum, kind.partialChecksum === true);
      }
      t.same([...rest.bytes.subarray(0, offset)], new Array(offset).fill(0xee), 'nothing outside of it is written');
    }
  }
});

test('what is left of several segments says whether it is several', async (t) => {
  const header = new Uint8Array(virtioNetHeader.bytes);
  header[virtioNetHeader.gsoType] = 1;
  header[virtioNetHeader.gsoSize] = 100;
  const parts = { header, payload: 'x'.repeat(350) };
  for (const [bytes, ...kinds] of [
    [50, 0, 1],
    [100, 0, 1],
    [200, 1, 1],
    [250, 1, 0],
    [300, 1, 0],
  ]) {
    const { front, rest } = cut(parts, bytes as number);
    t.same([front.gsoType, rest.gsoType], kinds, `${bytes}`);
    t.same(
      [front.gsoSize, rest.gsoSize],
      kinds.map((kind) => (kind === 0 ? 0 : 100)),
      `${bytes}`,
    );
  }
});

test('what begins or ends a connection at once, points into its payload, or is no TCP, stays whole', async (t) => {
  const view = new PacketView();
  const may = (packet: Uint8Array, bytes = 2): boolean => {
    view.read(packet, 0, packet.length);
    return mayBeCut(view, bytes);
  };
  for (const flags of [ack, ack | psh, ack | fin]) t.ok(may(tcpPacket({ payload: 'four', flags })));
  for (const flags of [syn, ack | rst, ack | urg]) t.notOk(may(tcpPacket({ payload: 'four', flags })));
  for (const bytes of [-1, 0, 4, 5]) t.notOk(may(tcpPacket({ payload: 'four' }), bytes));
  t.notOk(may(udpPacket({ payload: 'four' })));
});

import { test } from 'tap';
import { type PacketView, packetKind } from '../../../../src/colo/packet/packet-view.ts';
import { distance } from '../../../../src/colo/packet/sequence.ts';
import { ipv6Bytes, tcpFlag } from '../../../../src/colo/packet/wire.ts';
import { connectionOf, isTcp, look, readExchange, type Said } from '../../../support/exchange.ts';

// What the recordings are there for is in them: who records them anew (tools/traces) sees here whether it came about.

const { syn, fin, rst, ack } = tcpFlag;

function bothTakes(name: string): (readonly Said[])[] {
  return [readExchange(`${name}-1`), readExchange(`${name}-2`)];
}

function countOf(exchange: readonly Said[], byGuest: boolean, what: (view: PacketView) => boolean): number {
  return exchange.filter((said) => said.byGuest === byGuest && what(look(said))).length;
}

/** How often the guest says something of a connection that begins before the end of all that it has said there so far. */
function saidAgain(exchange: readonly Said[], what: (view: PacketView) => boolean): number {
  const ends = new Map<string, number>();
  let again = 0;
  for (const said of exchange.filter((one) => one.byGuest && isTcp(one))) {
    const name = connectionOf(said);
    const { sequence, payloadBytes, tcpFlags } = look(said);
    const before = ends.get(name);
    const isAgain = before !== undefined && distance(sequence, before) < 0 && (tcpFlags & syn) === 0;
    if (isAgain && what(look(said))) again++;
    const end = (sequence + payloadBytes + ((tcpFlags & (syn | fin)) !== 0 ? 1 : 0)) | 0;
    if (before === undefined || distance(end, before) > 0) ends.set(name, end);
  }
  return again;
}

const isOf =
  (kind: number) =>
  (view: PacketView): boolean =>
    view.kind === kind;
const isSegment = isOf(packetKind.tcp);
const hasFlags =
  (flags: number, of = flags) =>
  (view: PacketView): boolean =>
    isSegment(view) && (view.tcpFlags & of) === flags;
const hasData = ({ payloadBytes }: PacketView): boolean => payloadBytes > 0;

/** All SYNs of both ends. */
function syns(exchange: readonly Said[]): PacketView['tcpOptions'][] {
  return exchange
    .filter((said) => hasFlags(syn)(look(said)))
    .map((said) => ({ ...look(said).tcpOptions }) as PacketView['tcpOptions']);
}

test('segments are lost both ways: there are SACK blocks, and what is sent again', async (t) => {
  for (const exchange of bothTakes('loss')) {
    const hasBlocks = (view: PacketView): boolean => isSegment(view) && view.tcpOptions.sackBlocks > 0;
    t.ok(countOf(exchange, true, hasBlocks) > 3);
    t.ok(countOf(exchange, false, hasBlocks) > 3);
    t.ok(saidAgain(exchange, hasData) > 3);
  }
});

test('windows close both ways, and the guest probes', async (t) => {
  for (const exchange of bothTakes('windows')) {
    const isClosed = (view: PacketView): boolean => hasFlags(ack, ack | rst | syn)(view) && view.window === 0;
    t.ok(countOf(exchange, true, isClosed) > 1);
    t.ok(countOf(exchange, false, isClosed) > 1);
    t.ok(saidAgain(exchange, (view) => !hasData(view)) > 1, 'a probe has the number before the next one');
  }
});

test('connections end in all ways, and begin at both ends', async (t) => {
  for (const exchange of bothTakes('ends')) {
    t.ok(countOf(exchange, true, hasFlags(syn, syn | ack)) >= 4, 'the guest opens some');
    t.ok(countOf(exchange, false, hasFlags(syn, syn | ack)) >= 8);
    t.ok(countOf(exchange, true, hasFlags(rst | ack)) >= 3, 'it breaks one off, and refuses two');
    t.ok(countOf(exchange, false, hasFlags(rst)) >= 4, 'so does the client');
    t.ok(saidAgain(exchange, (view) => !hasData(view)) >= 1, 'it asks whether the client is alive');
    const ofOne = (port: number): Said[] =>
      exchange.filter((said) => isTcp(said) && connectionOf(said).includes(` ${port} `));
    const isEnd = hasFlags(fin);
    const [guestEnd, clientEnd] = [true, false].map((byGuest) =>
      ofOne(8007).find((said) => said.byGuest === byGuest && isEnd(look(said))),
    ) as [Said, Said];
    const last = look(guestEnd).sequence;
    t.equal(look(clientEnd).acknowledgement, last, 'neither has seen the FIN of the other');
    t.equal(look(guestEnd).acknowledgement, look(clientEnd).sequence);
    const halfClosed = ofOne(8001);
    const closedAt = halfClosed.findIndex((said) => !said.byGuest && isEnd(look(said)));
    t.ok(countOf(halfClosed.slice(closedAt), true, hasData) > 0, 'the guest goes on where the client has ended');
  }
});

test('options are there, are others, or are not', async (t) => {
  for (const exchange of bothTakes('vlan')) {
    for (const options of syns(exchange)) {
      t.match(options, { windowScale: 7, sackPermitted: true });
      t.not(options.timestamps, 0);
    }
  }
  for (const exchange of bothTakes('no-timestamps')) {
    for (const options of syns(exchange)) t.match(options, { windowScale: 0, sackPermitted: true, timestamps: 0 });
  }
  for (const exchange of bothTakes('no-options')) {
    t.ok(exchange.some((said) => said.byGuest && hasFlags(syn)(look(said))));
    for (const said of exchange) {
      if (said.byGuest && hasFlags(syn)(look(said))) {
        t.match(look(said).tcpOptions, { windowScale: -1, sackPermitted: false, timestamps: 0 });
      }
    }
  }
});

test('frames have tags, segments have 64 KiB or one MTU, and packets have extension headers', async (t) => {
  for (const exchange of bothTakes('vlan')) t.ok(exchange.every((said) => (look(said).vlans & 0xfff) === 7));
  const [long, short] = bothTakes('large-segments').map((exchange) =>
    Math.max(...exchange.filter((said) => said.byGuest && isTcp(said)).map((said) => look(said).payloadBytes)),
  ) as [number, number];
  t.ok(long > 60_000);
  t.ok(short < 1500);
  for (const exchange of bothTakes('extensions')) {
    const isExtended = ({ kind, ip, transport }: PacketView): boolean =>
      kind === packetKind.tcp && ip.version === 6 && transport > ip.at + ipv6Bytes;
    t.ok(countOf(exchange, true, (view) => isExtended(view) && hasData(view)) >= 1);
    t.ok(countOf(exchange, true, (view) => isExtended(view) && (view.tcpFlags & syn) !== 0) >= 1);
  }
});

test('datagrams are whole and in pieces, pings are answered, and neighbours are asked for', async (t) => {
  for (const exchange of bothTakes('datagrams')) {
    for (const version of [4, 6] as const) {
      const isOfVersion = (view: PacketView): boolean => view.ip.version === version;
      const count = (kind: number): number =>
        countOf(exchange, true, (view) => view.kind === kind && isOfVersion(view));
      t.equal(count(packetKind.udp), 3);
      t.equal(count(packetKind.fragment), 9, 'three pieces of two answers, and of a ping');
    }
    t.equal(
      countOf(exchange, true, (view) => view.kind === packetKind.icmp && view.icmpType === 0),
      2,
    );
    t.equal(
      countOf(exchange, true, (view) => view.kind === packetKind.icmp6 && view.icmpType === 129),
      2,
    );
    t.ok(countOf(exchange, true, isOf(packetKind.arp)) > 0);
    const isSolicitation = (view: PacketView): boolean => view.kind === packetKind.icmp6 && view.icmpType === 135;
    t.ok(countOf(exchange, true, isSolicitation) > 0);
  }
});

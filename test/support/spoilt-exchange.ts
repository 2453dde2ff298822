import { fillIpv4Checksum } from '../../src/colo/packet/checksum.ts';
import { type PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { advanced, distance } from '../../src/colo/packet/sequence.ts';
import { longAt, putLong, putWord, tcpField, tcpFlag, wordAt } from '../../src/colo/packet/wire.ts';
import { connectionOf, isTcp, look, type Said } from './exchange.ts';

/** Exchanges in which one side says something else: the comparison has to notice. */

type Random = (limit: number) => number;
type Exchange = readonly Said[];

/** A change to what one side says. */
export interface Spoiler {
  readonly what: string;
  readonly side: 'primary' | 'secondary';
  /** Undefined: this exchange has nothing that could be changed so. */
  readonly spoil: (exchange: Exchange, random: Random) => Said[] | undefined;
}

function one<T>(of: readonly T[], random: Random): T | undefined {
  return of[random(of.length)];
}

/** What the guest says in one connection, any in which it says such a thing. */
function connectionWith(exchange: Exchange, random: Random, wanted: (view: PacketView) => boolean): string | undefined {
  const names = exchange.filter((said) => said.byGuest && isTcp(said) && wanted(look(said))).map(connectionOf);
  return one([...new Set(names)], random);
}

/** Changes what the guest says in one connection; undefined takes a packet away. */
function inConnection(exchange: Exchange, name: string, change: (said: Said) => Said | undefined): Said[] {
  return exchange.flatMap((said) => {
    if (!said.byGuest || !isTcp(said) || connectionOf(said) !== name) return [said];
    const changed = change(said);
    return changed === undefined ? [] : [changed];
  });
}

function copyOf(said: Said, change: (frame: Uint8Array, view: PacketView) => void): Said {
  const frame = Uint8Array.from(said.frame);
  change(frame, look({ ...said, frame }));
  return { ...said, frame };
}

const hasData = ({ payloadBytes }: PacketView): boolean => payloadBytes > 0;

/** A byte of the stream: its connection, and its sequence number. Sent again, it is the same byte. */
function byteOf(exchange: Exchange, random: Random): { name: string; place: number } | undefined {
  const name = connectionWith(exchange, random, hasData);
  if (name === undefined) return undefined;
  const segments = exchange.filter(
    (said) => said.byGuest && isTcp(said) && connectionOf(said) === name && hasData(look(said)),
  );
  const { sequence, payloadBytes } = look(one(segments, random) as Said);
  return { name, place: advanced(sequence, random(payloadBytes)) };
}

/** Where that byte is in a packet; undefined: not in this one. */
function placeIn({ sequence, payload, payloadBytes }: PacketView, place: number): number | undefined {
  const at = distance(place, sequence);
  return at >= 0 && at < payloadBytes ? payload + at : undefined;
}

const flip = (frame: Uint8Array, at: number): void => {
  frame[at] = (frame[at] as number) ^ 0x10;
};

export const streamSpoilers: readonly Spoiler[] = [
  {
    what: 'another byte',
    side: 'secondary',
    spoil: (exchange, random) => {
      const byte = byteOf(exchange, random);
      if (byte === undefined) return undefined;
      return inConnection(exchange, byte.name, (said) =>
        copyOf(said, (frame, view) => {
          const at = placeIn(view, byte.place);
          if (at !== undefined) flip(frame, at);
        }),
      );
    },
  },
  {
    what: 'a segment that is never sent',
    side: 'secondary',
    spoil: (exchange, random) => {
      const byte = byteOf(exchange, random);
      if (byte === undefined) return undefined;
      return inConnection(exchange, byte.name, (said) =>
        placeIn(look(said), byte.place) === undefined ? said : undefined,
      );
    },
  },
  {
    what: 'an acknowledgement ahead',
    side: 'primary',
    spoil: (exchange, random) => {
      const name = connectionWith(exchange, random, ({ tcpFlags }) => (tcpFlags & tcpFlag.ack) !== 0);
      if (name === undefined) return undefined;
      let most: number | undefined;
      inConnection(exchange, name, (said) => {
        const { acknowledgement, tcpFlags } = look(said);
        const isFurther = most === undefined || distance(acknowledgement, most) > 0;
        if ((tcpFlags & tcpFlag.ack) !== 0 && isFurther) most = acknowledgement;
        return said;
      });
      return inConnection(exchange, name, (said) =>
        copyOf(said, (frame, { transport, acknowledgement }) => {
          if (acknowledgement === most) putLong(frame, transport + tcpField.acknowledgement, (most + 1) | 0);
        }),
      );
    },
  },
  {
    what: 'an end that is missing',
    side: 'secondary',
    spoil: (exchange, random) => {
      const name = connectionWith(exchange, random, ({ tcpFlags }) => (tcpFlags & tcpFlag.fin) !== 0);
      if (name === undefined) return undefined;
      return inConnection(exchange, name, (said) =>
        copyOf(said, (frame, { transport, tcpFlags }) => {
          frame[transport + tcpField.flags] = tcpFlags & ~tcpFlag.fin;
        }),
      );
    },
  },
  {
    what: 'a reset in its midst',
    side: 'secondary',
    spoil: (exchange, random) => {
      const byte = byteOf(exchange, random);
      if (byte === undefined) return undefined;
      let isOver = false;
      return inConnection(exchange, byte.name, (said) => {
        if (isOver) return undefined;
        isOver = placeIn(look(said), byte.place) !== undefined;
        if (!isOver) return said;
        return copyOf(said, (frame, { transport }) => {
          frame[transport + tcpField.flags] = tcpFlag.rst | tcpFlag.ack;
        });
      });
    },
  },
  {
    what: 'another port',
    side: 'secondary',
    spoil: (exchange, random) => {
      const name = connectionWith(exchange, random, () => true);
      if (name === undefined) return undefined;
      return inConnection(exchange, name, (said) =>
        copyOf(said, (frame, view) => putWord(frame, view.transport, view.sourcePort + 1)),
      );
    },
  },
  {
    what: 'options that are missing in its SYN',
    side: 'secondary',
    spoil: (exchange, random) => {
      const isSyn = ({ tcpFlags, tcpOptions }: PacketView): boolean =>
        (tcpFlags & tcpFlag.syn) !== 0 && tcpOptions.sackPermitted;
      const name = connectionWith(exchange, random, isSyn);
      if (name === undefined) return undefined;
      return inConnection(exchange, name, (said) =>
        copyOf(said, (frame, view) => {
          if (isSyn(view)) frame.fill(1, view.transport + 20 + 4, view.payload);
        }),
      );
    },
  },
];

const comparedKinds: readonly number[] = [packetKind.udp, packetKind.icmp, packetKind.icmp6, packetKind.fragment];
const echoReplyOfIpv6 = 129;

/** Changes one datagram, or one piece of one, that the guest sends. */
function ofDatagrams(
  what: string,
  mayBe: (view: PacketView) => boolean,
  change: (frame: Uint8Array, view: PacketView, random: Random) => Uint8Array | undefined,
): Spoiler {
  return {
    what,
    side: 'secondary',
    spoil: (exchange, random) => {
      const wanted = exchange.filter((said) => {
        if (!said.byGuest) return false;
        const view = look(said);
        const isAnswer = view.kind !== packetKind.icmp6 || view.icmpType === echoReplyOfIpv6;
        return comparedKinds.includes(view.kind) && isAnswer && mayBe(view);
      });
      const chosen = one(wanted, random);
      if (chosen === undefined) return undefined;
      return exchange.flatMap((said) => {
        if (said !== chosen) return [said];
        const frame = Uint8Array.from(said.frame);
        const changed = change(frame, look({ ...said, frame }), random);
        return changed === undefined ? [] : [{ ...said, frame: changed }];
      });
    },
  };
}

const isPiece = ({ kind }: PacketView): boolean => kind === packetKind.fragment;

export const datagramSpoilers: readonly Spoiler[] = [
  ofDatagrams('another byte', hasData, (frame, { payload, payloadBytes }, random) => {
    flip(frame, payload + random(payloadBytes));
    return frame;
  }),
  ofDatagrams('another byte of a piece', isPiece, (frame, { payload, payloadBytes }, random) => {
    flip(frame, payload + random(payloadBytes));
    return frame;
  }),
  ofDatagrams('a packet that is never sent', hasData, () => undefined),
  ofDatagrams('a piece that is never sent', isPiece, () => undefined),
  ofDatagrams(
    'another port',
    ({ kind }) => kind === packetKind.udp,
    (frame, { transport, sourcePort }) => {
      putWord(frame, transport, sourcePort + 1);
      return frame;
    },
  ),
  ofDatagrams('another length', hasData, (frame, view) => shortened(frame, view)),
  ofDatagrams('another place of a piece', isPiece, (frame, view) => {
    const { ip } = view;
    const at = ip.version === 4 ? ip.at + 6 : ip.payload - 6;
    putWord(frame, at, wordAt(frame, at) + (ip.version === 4 ? 1 : 8));
    return frame;
  }),
  ofDatagrams('a piece of another datagram', isPiece, (frame, { ip }) => {
    if (ip.version === 4) putWord(frame, ip.at + 4, wordAt(frame, ip.at + 4) ^ 0x4321);
    else putLong(frame, ip.payload - 4, longAt(frame, ip.payload - 4) ^ 0x4321);
    return frame;
  }),
];

/** Without its last byte. */
function shortened(frame: Uint8Array, view: PacketView): Uint8Array {
  const { ip, kind, transport } = view;
  const length = ip.at + (ip.version === 4 ? 2 : 4);
  putWord(frame, length, wordAt(frame, length) - 1);
  if (kind === packetKind.udp) putWord(frame, transport + 4, wordAt(frame, transport + 4) - 1);
  if (ip.version === 4) fillIpv4Checksum(view);
  return frame.subarray(0, -1);
}

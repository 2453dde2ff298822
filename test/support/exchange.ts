import { transportChecksum } from '../../src/colo/packet/checksum.ts';
import { PacketView, packetKind } from '../../src/colo/packet/packet-view.ts';
import { distance } from '../../src/colo/packet/sequence.ts';
import { sackBlockBytes } from '../../src/colo/packet/tcp-options.ts';
import { longAt, putLong, putWord, tcpField, tcpFlag, wordAt } from '../../src/colo/packet/wire.ts';
import { readPcap } from './pcap.ts';

/** An exchange as tools/traces recorded it: what a guest said, and what it heard. */

const guestEthernet = [2, 0, 0, 0, 0, 1];
const view = new PacketView(0);

/** A frame that a guest said or heard. */
export interface Said {
  readonly byGuest: boolean;
  readonly frame: Uint8Array;
}

/** A frame that S's guest heard when it was recorded, in the numbers of that guest, and as P's client would have said it. */
export interface Heard extends Said {
  readonly asRecorded: Uint8Array;
}

export function readExchange(name: string): Said[] {
  const frames = readPcap(new URL(`../golden/traces/${name}.pcap.gz`, import.meta.url));
  return frames.map((frame) => ({ byGuest: guestEthernet.every((byte, at) => frame[6 + at] === byte), frame }));
}

/** A view of the frame, until the next. */
export function look({ frame }: Said): PacketView {
  view.read(frame, 0, frame.length);
  return view;
}

/** Which connection of TCP a packet belongs to: version and ports, the guest's first. */
export function connectionOf(said: Said): string {
  const { ip, sourcePort, destinationPort } = look(said);
  const [mine, theirs] = said.byGuest ? [sourcePort, destinationPort] : [destinationPort, sourcePort];
  return `${ip.version} ${mine} ${theirs}`;
}

export function isTcp(said: Said): boolean {
  return look(said).kind === packetKind.tcp;
}

/** What the SYNs of a connection say: of those that there are. */
interface Opening {
  guest?: number;
  client?: number;
  guestTime?: number;
}

function openings(exchange: readonly Said[]): Map<string, Opening> {
  const found = new Map<string, Opening>();
  for (const said of exchange.filter(isTcp)) {
    const name = connectionOf(said);
    const { sequence, tcpFlags, tcpOptions, bytes } = look(said);
    if ((tcpFlags & tcpFlag.syn) === 0) continue;
    const opening = found.get(name) ?? {};
    found.set(name, opening);
    if (!said.byGuest) opening.client = sequence;
    else {
      opening.guest = sequence;
      opening.guestTime = tcpOptions.timestamps === 0 ? 0 : longAt(bytes, tcpOptions.timestamps);
    }
  }
  return found;
}

/**
 * What S's guest says and hears where its client is P's: the client's own numbers are those that it chose with P, and it answers P's
 * guest's. What S's guest says has its own numbers still, as it has them before translation.
 */
export function withClientOf(primary: readonly Said[], secondary: readonly Said[]): (Said | Heard)[] {
  const [theirs, mine] = [openings(primary), openings(secondary)];
  return secondary.map((said) => {
    if (!isTcp(said)) return said;
    const name = connectionOf(said);
    const [to, from] = [theirs.get(name), mine.get(name)];
    if (to === undefined || from === undefined) throw new Error(`connection ${name} has no SYN`);
    const byClient = apart(to.client, from.client);
    if (said.byGuest) return { ...said, frame: moved(said, { acknowledgement: byClient }) };
    return {
      ...said,
      frame: moved(said, {
        sequence: byClient,
        acknowledgement: apart(to.guest, from.guest),
        echo: apart(to.guestTime, from.guestTime),
      }),
      asRecorded: moved(said, { sequence: byClient }),
    };
  });
}

function apart(to: number | undefined, from: number | undefined): number {
  return to === undefined || from === undefined ? 0 : distance(to, from);
}

/** With other numbers, and a right checksum. */
function moved(said: Said, by: { sequence?: number; acknowledgement?: number; echo?: number }): Uint8Array {
  const { sequence = 0, acknowledgement = 0, echo = 0 } = by;
  const frame = Uint8Array.from(said.frame);
  const { transport, tcpFlags, tcpOptions } = look({ ...said, frame });
  const { timestamps, sack, sackBlocks } = tcpOptions;
  const move = (at: number, how: number): void => putLong(frame, at, (longAt(frame, at) + how) | 0);
  move(transport + tcpField.sequence, sequence);
  if ((tcpFlags & tcpFlag.ack) !== 0) {
    move(transport + tcpField.acknowledgement, acknowledgement);
    for (let edge = 0; edge < sackBlocks * sackBlockBytes; edge += 4) move(sack + edge, acknowledgement);
    if (timestamps !== 0 && longAt(frame, timestamps + 4) !== 0) move(timestamps + 4, echo);
  }
  putWord(frame, view.checksum, transportChecksum(view));
  return frame;
}

export function hasRightChecksum(said: Said): boolean {
  const seen = look(said);
  return wordAt(seen.bytes, seen.checksum) === transportChecksum(seen);
}

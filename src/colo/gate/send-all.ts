import type { CardPacket } from '../../vmm/platform/replayed-packets.ts';
import type { TapWriter } from './tap-writer.ts';

/** A TAP that is full is tried again after so long, ms; so often at most, for a takeover waits for all of them. */
const fullMs = 1;
const mostTries = 200;
/** Packets that are sent before the event loop gets its turn. */
const turnPackets = 256;

/** Sends packets in order. Resolves soon, whatever the TAPs do. The number of packets that were sent. */
export async function sendAll(taps: TapWriter, packets: readonly CardPacket[]): Promise<number> {
  let sent = 0;
  let tries = 0;
  for (const [index, { card, packet }] of packets.entries()) {
    if (index % turnPackets === turnPackets - 1) await new Promise((resolve) => setImmediate(resolve));
    let written = taps.write(card, packet);
    for (; written === 'full' && tries < mostTries; tries++) {
      await new Promise((resolve) => setTimeout(resolve, fullMs));
      written = taps.write(card, packet);
    }
    if (written === 'sent') sent++;
  }
  return sent;
}

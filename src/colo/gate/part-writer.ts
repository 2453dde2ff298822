import { copyFront, mayBeCut, takeFront } from '../packet/cut.ts';
import { PacketView } from '../packet/packet-view.ts';
import { packetBytes } from '../protocol/message-table.ts';
import type { PacketRecord } from '../record/packet-record.ts';
import type { Outgoing } from './outgoing.ts';
import type { TapWriter } from './tap-writer.ts';

/** Writes the beginning of a packet that waits, of which S's guest has said no more, as a packet of its own. */
export class PartWriter {
  readonly #taps: TapWriter;
  readonly #record: PacketRecord | undefined;
  readonly #view = new PacketView();
  readonly #frontView = new PacketView();
  readonly #front = new Uint8Array(packetBytes);

  constructor(taps: TapWriter, record: PacketRecord | undefined) {
    this.#taps = taps;
    this.#record = record;
  }

  /**
   * @param ring where the packet lies
   * @param bytes of what it carries
   * @returns whether they have left, and the packet begins behind them
   */
  write(packet: Outgoing, ring: Uint8Array, bytes: number): boolean {
    const { card, epoch, offset, length } = packet;
    const view = this.#view;
    view.read(ring, offset, length);
    if (!mayBeCut(view, bytes)) return false;
    const frontBytes = copyFront(view, bytes, this.#front, this.#frontView);
    const written = this.#taps.write(card, this.#front.subarray(0, frontBytes));
    if (written === 'full') return false;
    const [decision, reason] =
      written === 'lost'
        ? (['dropped', 'its TAP did not take it'] as const)
        : (['released', 'both guests have said so much of it'] as const);
    this.#record?.packet(decision, 'primary', 'out', card, epoch, reason, this.#front, 0, frontBytes);
    takeFront(view, bytes);
    packet.offset += bytes;
    packet.length -= bytes;
    return true;
  }
}

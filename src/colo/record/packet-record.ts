import type { Role } from '../protocol/numbers.ts';

/**
 * What became of a packet, as this side sees it.
 *
 *     mirrored   it enters P's guest, or has entered it, and S gets it
 *     held       a guest has sent it, and it waits
 *     compared   S's guest has sent it, P looks whether its own guest says the same; it goes nowhere
 *     released   it is with the network
 *     dropped    it will never be
 */
export type PacketDecision = 'mirrored' | 'held' | 'compared' | 'released' | 'dropped';

/** Takes packets of a guest and what became of them; they are only lent. */
export interface PacketRecord {
  /**
   * @param guest whose packet it is: the primary's guest or the secondary's
   * @param epoch that it belongs to; NaN: to none
   * @param bytes header and frame from `offset` on
   */
  packet(
    decision: PacketDecision,
    guest: Role,
    direction: 'in' | 'out',
    card: number,
    epoch: number,
    reason: string,
    bytes: Uint8Array,
    offset?: number,
    length?: number,
  ): void;
}

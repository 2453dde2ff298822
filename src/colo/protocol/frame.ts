import type { Message } from './messages.ts';
import type { Role, Term } from './numbers.ts';

/** A message with what stands around every one of them. */
export interface Frame {
  readonly role: Role;
  readonly term: Term;
  readonly message: Message;
}

/**
 * A frame's head, little-endian:
 *
 *      0  u32  bytes that follow the head
 *      4  u8   code of the message (message-table.ts)
 *      5  u8   role of who sends it: 1 primary, 2 secondary
 *      6  u16  0
 *      8  u64  term
 *     16  u64  epoch; 0 where a message has none
 */
export const head = { length: 0, code: 4, role: 5, reserved: 6, term: 8, epoch: 16, sizeBytes: 24 } as const;

export const roleCodes: Readonly<Record<Role, number>> = { primary: 1, secondary: 2 };

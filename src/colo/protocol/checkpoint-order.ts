import type { CheckpointMessage } from './messages.ts';
import type { Role } from './numbers.ts';
import { ProtocolError } from './protocol-error.ts';

/**
 * The seven messages of a checkpoint (spec A.2): who says each, and what may come after it.
 *
 *     S  checkpoint-ready                 once, after the first copy
 *     P  checkpoint-request   <----+
 *     S  checkpoint-reply          |
 *     P  vmstate-send              |
 *     P  vmstate-size              |
 *     S  vmstate-received          |
 *     S  vmstate-loaded       -----+
 */
export const checkpointOrder: Readonly<
  Record<CheckpointMessage['kind'], { readonly from: Role; readonly next: CheckpointMessage['kind'] }>
> = {
  'checkpoint-ready': { from: 'secondary', next: 'checkpoint-request' },
  'checkpoint-request': { from: 'primary', next: 'checkpoint-reply' },
  'checkpoint-reply': { from: 'secondary', next: 'vmstate-send' },
  'vmstate-send': { from: 'primary', next: 'vmstate-size' },
  'vmstate-size': { from: 'primary', next: 'vmstate-received' },
  'vmstate-received': { from: 'secondary', next: 'vmstate-loaded' },
  'vmstate-loaded': { from: 'secondary', next: 'checkpoint-request' },
};

/** A message came where another one, or none, was expected. */
export function outOfOrder(got: string, expected: string | undefined): ProtocolError {
  return new ProtocolError(
    'out-of-order',
    expected === undefined
      ? `the peer sent ${got} where it had nothing to say`
      : `the peer sent ${got} where ${expected} was expected`,
  );
}

import * as v from 'valibot';
import { checkState, list, record, u32 } from '../state-schema.ts';
import type { RngState } from './rng-state.ts';

const words = v.pipe(
  list(u32, 4),
  v.length(4, 'are not four words'),
  v.check((four) => four.some((word) => word !== 0), 'are all zero'),
);

const rngState = record({
  kind: v.literal('rng', 'is not rng'),
  version: v.literal(1, 'is no version'),
  seeded: v.nullable(record({ version: v.literal(1, 'is no version that this colo-vmm knows'), words })),
});

/** @throws VmStateError */
export function checkRngState(value: unknown): RngState {
  return checkState('device', 1, rngState, value);
}

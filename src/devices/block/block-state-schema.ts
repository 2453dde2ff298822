import * as v from 'valibot';
import { checkState, list, record, u16 } from '../state-schema.ts';
import { blockQueueSize } from './block-shape.ts';
import type { BlockState } from './block-state.ts';

const blockState = record({
  kind: v.literal('block', 'is not block'),
  version: v.literal(1, 'is no version'),
  kept: list(u16, blockQueueSize),
});

/** @throws VmStateError */
export function checkBlockState(value: unknown): BlockState {
  return checkState('device', 1, blockState, value);
}

import * as v from 'valibot';
import { bytes, checkState, flag, record, u64 } from '../state-schema.ts';
import type { NetState } from './net-state.ts';
import { longestPacket } from './packet-port.ts';

const netState = record({
  kind: v.literal('net', 'is not net'),
  version: v.literal(1, 'is no version'),
  guestOffloads: u64,
  waiting: bytes(longestPacket),
  nextIsSeen: flag,
});

/** @throws VmStateError */
export function checkNetState(value: unknown): NetState {
  return checkState('device', 1, netState, value);
}

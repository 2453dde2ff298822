import * as v from 'valibot';
import type { SerialPortState } from './serial-port-state.ts';
import { receiveRingBytes, transmitRingBytes } from './serial-state.ts';
import { bytes, checkState, flag, record, u8 } from './state-schema.ts';

const masked = (mask: number) =>
  v.pipe(
    u8,
    v.check(
      (value) => (value & ~mask) === 0,
      ({ received }) => `cannot be ${received}`,
    ),
  );

const serialPortState = record({
  version: v.literal(1, 'is no version'),
  interruptEnable: masked(0x0f),
  lineControl: u8,
  modemControl: masked(0x1f),
  scratch: u8,
  divisorLow: u8,
  divisorHigh: u8,
  fifoEnabled: flag,
  transmitterEmpty: flag,
  overrun: flag,
  interruptLevel: flag,
  received: bytes(receiveRingBytes),
  sent: bytes(transmitRingBytes),
});

/** A value that comes from outside as the state of a serial port. @throws VmStateError */
export function checkSerialPortState(value: unknown): SerialPortState {
  return checkState('serial', 1, serialPortState, value);
}

/**
 * The memory that all threads share of one serial port: registers, and a ring of bytes for each direction.
 *
 *     Int32 cells   lock, registers, ring counters                  (see `cell`)
 *     bytes         receive ring, transmit ring
 *
 * Ring counters run from 0 to 2^32 - 1 and wrap; head - tail is what the ring holds.
 */

/** Index of each 32-bit cell. */
export const cell = {
  lock: 0,
  interruptEnable: 1,
  lineControl: 2,
  modemControl: 3,
  scratch: 4,
  divisorLow: 5,
  divisorHigh: 6,
  fifoEnabled: 7,
  /** 1: the transmitter went empty and nobody has read IIR or written a byte since. */
  transmitterEmpty: 8,
  /** 1: a byte arrived and found no room. */
  overrun: 9,
  /** Level of the interrupt pin. */
  interruptLevel: 10,
  receiveHead: 11,
  receiveTail: 12,
  transmitHead: 13,
  transmitTail: 14,
  /** 1: the host is looking at the transmit ring by itself; no need to ring. */
  hostAwake: 15,
  /** 1: the host holds input back and wants to hear of room. */
  hostHasInput: 16,
} as const;

const cellCount = 17;

/** Input that the guest has not read yet. A real FIFO has 16; more saves wake-ups and shows no difference. */
export const receiveRingBytes = 1024;
/** Output that the host has not printed yet. When it is full the transmitter is busy, and the guest waits. */
export const transmitRingBytes = 65536;

/** Views of one serial port's shared memory. */
export interface SerialState {
  readonly storage: SharedArrayBuffer;
  readonly cells: Int32Array<SharedArrayBuffer>;
  readonly receiveRing: Uint8Array<SharedArrayBuffer>;
  readonly transmitRing: Uint8Array<SharedArrayBuffer>;
}

/** Fresh state, or views of a state that another thread made. */
export function serialState(storage?: SharedArrayBuffer): SerialState {
  const cellBytes = cellCount * 4;
  const bytes = storage ?? new SharedArrayBuffer(cellBytes + receiveRingBytes + transmitRingBytes);
  const cells = new Int32Array(bytes, 0, cellCount);
  if (storage === undefined) cells[cell.transmitterEmpty] = 1;
  return {
    storage: bytes,
    cells,
    receiveRing: new Uint8Array(bytes, cellBytes, receiveRingBytes),
    transmitRing: new Uint8Array(bytes, cellBytes + receiveRingBytes, transmitRingBytes),
  };
}

/**
 * What lies where in the small guest's memory.
 *
 *     0x10_0000  code                 0x11_3000  headers and status bytes of disk requests
 *     0x11_0000  disk's queue         0x11_4000  records on their way
 *     0x11_1000  receive queue        0x11_8000  variables, clients
 *     0x11_2000  transmit queue       0x11_a000  interrupt table     0x12_0000  packets' buffers
 *     0x40_0000  pages that requests have touched
 */
export const at = {
  disk: 0x11_0000,
  receive: 0x11_1000,
  transmit: 0x11_2000,
  headers: 0x11_3000,
  statuses: 0x11_3800,
  records: 0x11_4000,
  variables: 0x11_8000,
  batch: 0x11_8100,
  clients: 0x11_9000,
  interrupts: 0x11_a000,
  buffers: 0x12_0000,
  end: 0x14_0000,
  touched: 0x40_0000,
} as const;

export const diskEntries = 128;
export const netEntries = 64;
export const bufferBytes = 2048;
export const batchPackets = 32;
/** Three descriptors for each write, then two for the flush. */
export const flushHead = batchPackets * 3;

/** Offsets in a queue's page. */
export const queueAt = { avail: 0x800, used: 0xa00 } as const;
export const ring = 4;
export const usedEntry = 8;
export const index = 2;

export const variable = {
  /** Of the queues: what was made available, and what was seen of what was used. 16 bits, and never wrapped otherwise. */
  diskAvail: at.variables,
  receiveAvail: at.variables + 4,
  receiveSeen: at.variables + 8,
  transmitAvail: at.variables + 12,
  transmitSeen: at.variables + 16,
  /** Buffers went back to the receive queue, and the device does not know yet. */
  receiveGrew: at.variables + 20,
  /** Packets that will be answered, and records that are written before. */
  packets: at.variables + 24,
  writes: at.variables + 28,
  /** The packet at hand. */
  id: at.variables + 32,
  length: at.variables + 36,
  counter: at.variables + 40,
  sectors: at.variables + 48,
  mac: at.variables + 56,
} as const;

/** Of a client: who it is, its last request, and the answer to that. */
export const client = { id: 0, number: 8, counter: 16 } as const;
export const clientBits = 5;

/** Flags of descriptors, of rings, and what a request of a disk asks for. */
export const NEXT = 1;
export const WRITE = 2;
export const NO_INTERRUPT = 1;
export const NO_NOTIFY = 1;
export const FLUSH = 4;

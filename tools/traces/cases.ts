import { questions } from './datagrams.ts';
import { big, crossedPort, ends, slowReaders, small, transfers } from './streams.ts';
import type { Take, TraceCase } from './trace-case.ts';

const quick: Take = { mtu: 1500, offload: true, fromGuest: { delayMs: 1 }, toGuest: { delayMs: 1 } };
const slower: Take = {
  mtu: 1280,
  offload: false,
  fromGuest: { delayMs: 6 },
  toGuest: { delayMs: 9 },
};
const inPieces: Take = { ...slower, pieceBytes: 900 };

/**
 * An experimental option that whoever does not know it passes over (RFC 4727, 3.3), of so many bytes in all: 6 and 14 fill a header of 8 or 16.
 * A kernel takes no more than 7 bytes of padding.
 */
function option(bytes: number): number[] {
  return [0x1e, bytes - 2, ...new Array(bytes - 2).fill(0x5a)];
}

/** A receive buffer that is full after some segments. */
const smallBuffer = { tcp_rmem: '"4096 8192 8192"' };

export const traceCases: readonly TraceCase[] = [
  {
    name: 'loss',
    talk: transfers,
    windowScale: 7,
    takes: [
      {
        ...slower,
        fromGuest: { delayMs: 8, lost: [2, 5, 6, 12] },
        toGuest: { delayMs: 8, lost: [3, 7] },
      },
      {
        ...quick,
        offload: false,
        fromGuest: { delayMs: 20, lost: [4], late: [2, 7], lateMs: 45 },
        toGuest: { delayMs: 20, lost: [2, 3, 9], late: [6], lateMs: 45 },
        pieceBytes: 2500,
      },
    ],
  },
  {
    name: 'windows',
    talk: slowReaders,
    windowScale: 7,
    guestSystem: smallBuffer,
    clientSystem: smallBuffer,
    takes: [
      { ...quick, idleMs: 1600 },
      { ...slower, pieceBytes: 3000, idleMs: 900 },
    ],
  },
  {
    name: 'ends',
    talk: ends,
    crossedPort,
    windowScale: 7,
    takes: [
      { ...quick, fromGuest: { delayMs: 30 }, toGuest: { delayMs: 30 }, idleMs: 1500 },
      { ...inPieces, fromGuest: { delayMs: 35 }, toGuest: { delayMs: 30 }, idleMs: 3400 },
    ],
  },
  {
    name: 'no-timestamps',
    talk: small,
    windowScale: 0,
    guestSystem: { tcp_timestamps: '0' },
    clientSystem: { tcp_timestamps: '0' },
    takes: [quick, inPieces],
  },
  {
    name: 'no-options',
    talk: small,
    windowScale: 7,
    guestSystem: { tcp_timestamps: '0', tcp_window_scaling: '0', tcp_sack: '0' },
    takes: [quick, { ...inPieces, fromGuest: { delayMs: 6, lost: [2] } }],
  },
  { name: 'vlan', talk: small, windowScale: 7, vlan: 7, takes: [quick, inPieces] },
  {
    name: 'large-segments',
    talk: big,
    windowScale: 7,
    // A segment is at most half of the greatest window, and what is sent in a millisecond, which follows from how much may be under way.
    clientSystem: { tcp_rmem: '"4096 1048576 8388608"' },
    routeMetrics: ['initcwnd', '1000', 'initrwnd', '100'],
    takes: [quick, { ...quick, offload: false, fromGuest: { delayMs: 3 } }],
  },
  {
    name: 'extensions',
    talk: small,
    windowScale: 7,
    takes: [
      { ...quick, hopByHop: option(6) },
      { ...inPieces, hopByHop: option(14), destination: option(6) },
    ],
  },
  {
    name: 'datagrams',
    talk: questions,
    windowScale: 7,
    pings: true,
    takes: [quick, { ...quick, offload: false, fromGuest: { delayMs: 4 }, backwards: true }],
  },
];

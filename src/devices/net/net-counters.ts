/** Index of each counter. What is dropped says why. */
export const netCounter = {
  receivedPackets: 0,
  receivedBytes: 1,
  /** A listener took it over. */
  receiveHeld: 2,
  /** The driver's buffers cannot hold it. */
  receiveNoRoom: 3,
  receiveTooLong: 4,
  receiveTooShort: 5,
  receiveLinkDown: 6,
  /** Calls that failed. */
  receiveErrors: 7,
  sentPackets: 8,
  sentBytes: 9,
  /** A listener took it over. */
  sendHeld: 10,
  sendTooLong: 11,
  sendTooShort: 12,
  sendLinkDown: 13,
  /** The kernel would not have it: a header that makes no sense, or an interface that is down. */
  sendRefused: 14,
  controlCommands: 15,
  /** Answered with an error. */
  controlRefused: 16,
  /** Offloads that the port would not set. */
  offloadErrors: 17,
} as const;

export type NetCounter = keyof typeof netCounter;

/** What a card has done: floating-point cells, so that counting allocates nothing, for all threads to read. */
export type NetCounters = Float64Array;

export function netCounters(): NetCounters {
  return new Float64Array(new SharedArrayBuffer(8 * Object.keys(netCounter).length));
}

/** Hot path. */
export function count(counters: NetCounters, index: number, by: number): void {
  counters[index] = (counters[index] as number) + by;
}

/** All counters by name. */
export function namedCounters(counters: NetCounters): Record<NetCounter, number> {
  const named = Object.entries(netCounter).map(([name, index]) => [name, counters[index] ?? 0]);
  return Object.fromEntries(named) as Record<NetCounter, number>;
}

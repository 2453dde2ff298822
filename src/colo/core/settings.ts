/** What an operator may set, and what follows from the machines. All times in ms. */
export interface Settings {
  /** Heartbeats go out so often, both ways. */
  readonly heartbeatMs: number;
  /** A peer that was silent so long is gone. At least four heartbeats. */
  readonly detectMs: number;
  /** P may release for so long after the moment when it sent the heartbeat that S answered (spec B.6). */
  readonly leaseMs: number;
  /** How much faster or slower one side's clock may run than the other's. 0.05 is far more than crystals do. */
  readonly clockRateError: number;
  /** Who says which side may go on alone (spec B.6): `manual`, or where it keeps the term. The same on both sides. */
  readonly arbiter: string;
  /** A message of a checkpoint that is awaited for so long will not come. */
  readonly stepMs: number;
  /** An arbiter that did not answer is asked again after so long. */
  readonly askAgainMs: number;
  /** `x-checkpoint-delay`: a checkpoint at least so often. */
  readonly checkpointDelayMs: number;
  /** Buffered mode: the part of time that the guest runs, at least, while its output asks for checkpoints (spec B.8). */
  readonly guestShare: number;
  /** Live passes before a checkpoint whose reason can wait (spec B.3), at most. */
  readonly livePasses: number;
  /** Whether both guests may run and be compared (spec B.8); if not, all epochs are buffered. */
  readonly compares: boolean;
  /** Comparing goes on while no more than this part of the time is spent on checkpoints because the guests do not agree. */
  readonly divergenceShare: number;
  /** The least time in buffered mode before comparing is tried again. */
  readonly buffersForMs: number;
  /** Bytes that S's disk log may hold (design: disks). At half, a checkpoint; at the bound, P's guest waits. */
  readonly diskLogBytes: number;
}

export const defaultSettings: Settings = {
  heartbeatMs: 50,
  detectMs: 200,
  leaseMs: 150,
  clockRateError: 0.05,
  arbiter: 'manual',
  stepMs: 5000,
  askAgainMs: 250,
  checkpointDelayMs: 20_000,
  guestShare: 0.7,
  livePasses: 2,
  compares: false,
  divergenceShare: 0.5,
  buffersForMs: 5000,
  diskLogBytes: 64 * 1024 * 1024,
};

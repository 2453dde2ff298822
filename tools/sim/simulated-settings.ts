import { type RecoveryTimes, recoveryTimes } from '../../src/colo/core/fencing/recovery.ts';
import type { Settings } from '../../src/colo/core/settings.ts';

/** As an operator would set them, but for what makes a run long without telling more. */
export const simulatedSettings: Settings = {
  arbiter: 'manual',
  heartbeatMs: 40,
  detectMs: 160,
  leaseMs: 130,
  clockRateError: 0.2,
  stepMs: 400,
  askAgainMs: 100,
  checkpointDelayMs: 120,
  guestShare: 0.7,
  livePasses: 1,
  compares: false,
  divergenceShare: 0.5,
  buffersForMs: 60,
  diskLogBytes: 16 * 4,
};

/** The product's, in a world in which all else is quicker, too. */
export const simulatedRecovery: RecoveryTimes = {
  ...recoveryTimes,
  leastCalmMs: 0,
  firstWaitMs: 1000,
  longestWaitMs: 8000,
  steadyMs: 10_000,
};

/** All that the guest has on its disk fits into the lower half of the log: both guests run soon, and for longer. */
export const comparingSettings: Settings = { ...simulatedSettings, compares: true, diskLogBytes: 8 * 16 };

/** Of the log, that a write takes. */
export const writeBytes = 16;
/** Of a standby whose disk is slow, in its log. */
const writesOfLog = 16;

/** Nothing but what that disk does is to ask for a checkpoint, or a rare one. */
export const slowDiskSettings: Settings = {
  ...simulatedSettings,
  diskLogBytes: writesOfLog * writeBytes,
  checkpointDelayMs: 4000,
};

/** Detection may take long: heartbeats are rarer than a step may last. */
export const rareHeartbeats = { heartbeatMs: 800, detectMs: 3200, leaseMs: 2600 } satisfies Partial<Settings>;

/** What is in the log takes that disk longer than a step may last. */
export const slowDiskComparingSettings: Settings = {
  ...slowDiskSettings,
  compares: true,
  diskLogBytes: 3 * writesOfLog * writeBytes,
};

/** A host is starved until then, ms. */
export const overloadEndsMs = 12_000;

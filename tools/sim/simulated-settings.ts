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

/** A host is starved until then, ms. */
export const overloadEndsMs = 12_000;

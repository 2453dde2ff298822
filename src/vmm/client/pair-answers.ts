import * as v from 'valibot';
import type {
  ColoBackupReport,
  ColoEvent,
  ColoHeadline,
  ColoMilestone,
  ColoStatus,
  ColoTopic,
} from '../monitor/colo-control.ts';

/** What a machine says about its pair, checked as a stranger's word. */

const count = v.pipe(v.number(), v.finite());
const text = v.string();

/** All of them, the safest first. */
export const headlines = [
  ...(['PROTECTED', 'PROTECTING', 'PAIRING', 'LISTENING'] as const),
  ...(['UNPROTECTED', 'TAKEOVER', 'WAITING', 'FENCED', 'ENDED'] as const),
] satisfies readonly ColoHeadline[];

const topics = [
  ...(['pair', 'protection', 'peer', 'consent', 'arbiter'] as const),
  ...(['takeover', 'speaking', 'checkpoint', 'disk', 'guest', 'message'] as const),
] satisfies readonly ColoTopic[];

/** All of them. */
export const milestones = [
  ...(['protected', 'unprotected', 'peer-lost', 'failover', 'switchover'] as const),
  ...(['fenced', 'arbiter-lost', 'arbiter-back', 'disk-error'] as const),
] satisfies readonly ColoMilestone[];

const status = v.object({
  pair: text,
  role: v.picklist(['primary', 'secondary']),
  headline: v.picklist(headlines),
  survivor: v.exactOptional(v.boolean()),
  takeover: v.exactOptional(v.object({ silenceMs: count, sentAgain: count })),
  since: count,
  why: text,
  unprotected: v.exactOptional(v.object({ since: count, why: text })),
  next: v.exactOptional(text),
  failure: v.exactOptional(text),
  phase: text,
  term: count,
  checkpointDelayMs: count,
  link: v.exactOptional(
    v.object({ peer: text, security: v.picklist(['tls', 'plaintext']), lastHeardMsAgo: v.exactOptional(count) }),
  ),
  address: text,
  mode: v.picklist(['buffered', 'comparing']),
  modeWhy: v.exactOptional(text),
  flows: v.exactOptional(v.array(v.object({ port: count, policy: text, unsafe: v.exactOptional(v.literal(true)) }))),
  compared: v.exactOptional(
    v.object({
      released: count,
      passed: count,
      divergences: count,
      checkpoints: count,
      behind: v.exactOptional(v.object({ median: count, worst: count })),
      recent: v.array(
        v.object({ at: count, number: count, times: count, what: text, cause: text, remedy: v.exactOptional(text) }),
      ),
    }),
  ),
  epoch: v.number(),
  checkpoint: v.exactOptional(
    v.object({
      epoch: v.number(),
      msAgo: count,
      reasons: v.exactOptional(v.array(text)),
    }),
  ),
  stops: v.exactOptional(v.object({ median: count, worst: count, count, pages: count, parts: v.record(text, count) })),
  held: v.exactOptional(v.object({ packets: count, bytes: count, oldestMs: count })),
  disk: v.exactOptional(
    v.object({
      logBytes: count,
      guestWaits: v.exactOptional(v.boolean()),
      slowStandby: v.exactOptional(v.object({ share: count, bytesPerSecond: count })),
      error: v.exactOptional(text),
      synchronising: v.exactOptional(
        v.object({ totalBytes: count, comparedBytes: count, sentBytes: count, secondsLeft: v.exactOptional(count) }),
      ),
      copying: v.exactOptional(v.object({ comparedBytes: count, receivedBytes: count })),
      synchronised: v.exactOptional(
        v.object({ totalBytes: count, comparedBytes: count, sentBytes: count, seconds: count }),
      ),
      markedBytes: v.exactOptional(count),
    }),
  ),
  memory: v.exactOptional(v.object({ totalBytes: count, leftBytes: count })),
  changesLost: v.exactOptional(text),
  backup: v.exactOptional(v.object({ path: text, epoch: count, totalBytes: count, copiedBytes: count })),
  failover: v.exactOptional(v.object({ detectionMs: count, consentMs: count, loadMs: v.exactOptional(count) })),
  arbiter: v.object({
    name: text,
    answeredInMs: v.exactOptional(count),
    answeredMsAgo: v.exactOptional(count),
    problem: v.exactOptional(text),
  }),
  totals: v.exactOptional(
    v.object({
      checkpoints: count,
      stoppedMs: v.exactOptional(count),
      pages: v.exactOptional(count),
      reasons: v.exactOptional(v.record(text, count)),
    }),
  ),
  milestones: v.exactOptional(v.record(v.picklist(milestones), count)),
}) satisfies v.GenericSchema<unknown, ColoStatus>;

type Whole<T> = T extends object ? { [K in keyof T]-?: Whole<NonNullable<T[K]>> } : T;
type Complete<T extends Whole<ColoStatus>> = T;

/** All that a client takes. If the schema lacks a key of a status, this does not compile: it would be lost without a word. */
export type TakenStatus = Complete<Whole<v.InferOutput<typeof status>>>;

/** Nothing can be said of a pair in time, and why. */
export interface UnknownPair {
  readonly unknown: string;
}

/** The answer to `x-colo-status` that has a time limit. */
export const pairStatusInTime: v.GenericSchema<unknown, ColoStatus | UnknownPair | undefined> = v.lazy(() =>
  v.union([v.strictObject({ unknown: text }), pairStatus]),
);

/** The answer to `x-colo-status`: nothing in it, and the machine was never in a pair. */
export const pairStatus: v.GenericSchema<unknown, ColoStatus | undefined> = v.union([
  status,
  v.pipe(
    v.strictObject({}),
    v.transform(() => undefined),
  ),
]);

/** The answer to `x-colo-backup`. */
export const backupReport = v.object({
  path: text,
  epoch: count,
  totalBytes: count,
  writtenBytes: count,
}) satisfies v.GenericSchema<unknown, ColoBackupReport>;

/** Of `X_COLO_EVENT`. */
export const pairEvent = v.object({
  at: count,
  monotonicMs: v.number(),
  topic: v.picklist(topics),
  text,
  event: v.exactOptional(v.picklist(milestones)),
}) satisfies v.GenericSchema<unknown, ColoEvent>;

/** The answer to `x-colo-events`. */
export const pairEvents = v.array(pairEvent);

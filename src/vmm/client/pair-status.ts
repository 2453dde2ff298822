import { printable } from '../../host/console/tell.ts';
import type { ColoEvent, ColoHeadline, ColoStatus } from '../monitor/colo-control.ts';
import { count, dayAndTime, milliseconds, roughly, size, timeOfDay } from './quantities.ts';

/** What stands behind a label. */
export type Fact = readonly [label: string, text: string];

/** What stands at the beginning of a line about a pair, below the first one. docs/operating.md explains each. */
export const pairLabels = [
  ...(['but', 'why', 'last attempt', 'unprotected', 'clients', 'next', 'checkpoint', 'guest stopped'] as const),
  ...(['mode', 'held', 'disk', 'memory', 'backup', 'link', 'arbiter', 'a failover now'] as const),
] as const;
type PairFact = readonly [label: (typeof pairLabels)[number], text: string];

/** A pair in words. */
export interface PairInWords {
  /** Such as `PROTECTED since 14:02:11 (2 h 10 min)`. */
  readonly state: string;
  /** Which side this is, and where the other one is. */
  readonly place: string;
  /** Why and what to do first, then a fact a line. */
  readonly facts: readonly PairFact[];
}

/** Columns of the first line before who is where. */
const headlineWidth = 46;
const labelWidth = 15;
const indent = '      ';
const dayMs = 86_400_000;

/** Words for a checkpoint's reasons (src/colo/core). */
const reasonWords: Readonly<Record<string, string>> = {
  delay: 'the delay was over',
  output: 'output waited',
  command: 'somebody asked',
  parameter: 'a parameter was changed',
  'disk-log': "the standby's disk log was half full",
  divergence: 'the two guests did not agree',
  room: 'the standby had no room for what its guest says or is told',
  backlog: 'a packet that waits for the standby held up all behind it',
  mode: 'the mode is changed',
  reset: 'the guest was reset',
  switchover: 'the roles change',
  end: 'the guest ended',
};

/**
 * A pair for a person: the first line says whether its guest is safe, then why and what to do, then a fact a line.
 *
 * @param now ms since 1970
 */
export function renderPair(status: ColoStatus, now: number): string[] {
  const { state, place, facts } = pairInWords(status, now);
  return [
    `${`${status.pair}   ${state}`.padEnd(headlineWidth)}   ${place}`,
    ...facts.map(([label, text]) => `${indent}${label.padEnd(labelWidth)}${text}`),
  ].map(printable);
}

/** The same, in parts that may be laid out otherwise. @param now ms since 1970 */
export function pairInWords(status: ColoStatus, now: number): PairInWords {
  const { headline, since } = status;
  return { state: `${headline} ${sinceWhen(since, now)}`, place: placeOf(status), facts: factsOf(status, now) };
}

function sinceWhen(since: number, now: number): string {
  const begun = now - since >= dayMs ? dayAndTime(since) : timeOfDay(since);
  return `since ${begun} (${roughly(Math.max(0, now - since) / 1000)})`;
}

/** Which side this is, and where the other one is. */
function placeOf({ role, headline, survivor, link, address, term, held }: ColoStatus): string {
  const peer = link?.peer ?? address;
  const places: Readonly<Record<ColoHeadline, string>> = {
    PROTECTED: `primary, here; standby ${peer}, term ${term}`,
    PROTECTING: `standby, here; primary ${peer}, term ${term}`,
    PAIRING: role === 'primary' ? `primary, here; to be protected by ${peer}` : `standby, here; primary ${peer}`,
    LISTENING: `standby, here; nobody to protect yet, waits on ${address}`,
    UNPROTECTED: `${survivor === true ? 'survivor' : 'alone'}, here; term ${term}`,
    WAITING:
      role === 'primary'
        ? `primary, here; the guest runs on, its output is held (${held?.packets ?? 0} packets)`
        : 'standby, here; it may not take over yet',
    TAKEOVER: `standby, here; the guest is about to run; term ${term}`,
    FENCED:
      role === 'primary'
        ? 'was primary, here; the guest is stopped'
        : 'was standby, here; the primary goes on without it',
    ENDED: `was ${role === 'primary' ? 'primary' : 'standby'}, here`,
  };
  return places[headline];
}

function factsOf(status: ColoStatus, now: number): PairFact[] {
  const { headline, next, takeover, checkpoint, link, backup } = status;
  const safe = headline === 'PROTECTED' || headline === 'PROTECTING';
  // Of a pair that is over, its last checkpoint tells nothing.
  const counts = safe || headline === 'PAIRING' || headline === 'WAITING';
  return [
    ...dangers(status).map((danger): PairFact => ['but', danger]),
    ...(safe ? [] : whyFacts(status, now)),
    ...(takeover === undefined ? [] : [['clients', takeoverFact(takeover)] as const]),
    ...(next === undefined ? [] : [['next', next] as const]),
    ...(checkpoint === undefined || !counts ? [] : [['checkpoint', checkpointFact(checkpoint, status)] as const]),
    ...(counts ? stopFacts(status) : []),
    ...(safe ? [['mode', modeFact(status)] as const] : []),
    ...(counts ? heldFacts(status) : []),
    ...(counts || status.disk?.error !== undefined ? diskFacts(status) : []),
    ...memoryFacts(status),
    ...(backup === undefined ? [] : [['backup', backupFact(backup)] as const]),
    ...(link === undefined ? [] : [['link', linkFact(link)] as const]),
    ['arbiter', arbiterFact(status)],
    ...failoverFacts(status),
  ];
}

/** Why it is as it is. What has been tried since a guest lost its standby does not hide why it did. */
function whyFacts({ headline, why, unprotected }: ColoStatus, now: number): PairFact[] {
  if (headline === 'PAIRING') {
    if (unprotected === undefined) return [];
    return [['unprotected', `${sinceWhen(unprotected.since, now)}: ${unprotected.why}`]];
  }
  if (unprotected === undefined || unprotected.why === why) return [['why', why]];
  return [
    ['why', unprotected.why],
    ['last attempt', why],
  ];
}

function takeoverFact({ silenceMs, sentAgain }: NonNullable<ColoStatus['takeover']>): string {
  return `silence of ${milliseconds(silenceMs)}; ${count(sentAgain)} packets sent again`;
}

/** What would go wrong though nothing has yet. */
function dangers({ headline, arbiter, link, disk, changesLost, flows = [] }: ColoStatus): string[] {
  const needed = headline === 'PROTECTED' || headline === 'PROTECTING' || headline === 'PAIRING';
  return [
    ...(needed && arbiter.problem !== undefined
      ? ['the arbiter could not say who goes on: if the hosts lose each other now, the guest waits until it can']
      : []),
    ...(link?.security === 'plaintext'
      ? ['nothing is encrypted (--insecure): whoever reaches the port is believed']
      : []),
    ...(needed ? flows : []).flatMap(({ port, policy, unsafe }) =>
      unsafe === true
        ? [
            `UNSAFE: port ${port} has policy=${policy}: after a failover its clients may have been told what nobody knows of`,
          ]
        : [],
    ),
    ...(needed && disk?.error !== undefined ? [`a disk has failed: ${disk.error}`] : []),
    ...(headline === 'UNPROTECTED' ? [] : waitingWrites(disk)),
    ...(changesLost === undefined
      ? []
      : [
          `where the guest writes is not written down (--state: ${changesLost}): if this process ends, the next pairing compares all of ` +
            'its disks; a pairing begins that anew',
        ]),
  ];
}

/** What slows the guest down, and what helps. */
function waitingWrites(disk: ColoStatus['disk']): string[] {
  if (disk?.slowStandby !== undefined) {
    const { share, bytesPerSecond } = disk.slowStandby;
    const percent = Math.round(share * 100);
    return [
      `the standby's disk is slower than the guest writes: of the last seconds its writes waited ${percent} %, for a disk that takes ` +
        `${size(bytesPerSecond)}/s there: give the standby a faster one, or have the guest write less`,
    ];
  }
  if (disk?.guestWaits !== true) return [];
  return ["the guest's writes to its disks wait: the log of what the standby has not laid down is full"];
}

/** How output leaves, and why not otherwise, where both guests may run. */
function modeFact({ mode, modeWhy, compared }: ColoStatus): string {
  if (compared === undefined) return mode;
  const { released, divergences, checkpoints, behind } = compared;
  const found = `${count(released)} packets left because both guests said them, ${count(divergences)} times they did not agree, ${count(checkpoints)} checkpoints`;
  const lag =
    behind === undefined
      ? ''
      : `; the standby's guest was ${milliseconds(behind.median)} behind, at worst ${milliseconds(behind.worst)}, in what they said last`;
  return `${mode}: ${modeWhy}; ${found}${lag}`;
}

function checkpointFact(
  { epoch, msAgo, reasons = [] }: NonNullable<ColoStatus['checkpoint']>,
  { role, checkpointDelayMs }: ColoStatus,
): string {
  // A standby's are its primary's.
  const rhythm = role === 'primary' ? [`every ${milliseconds(checkpointDelayMs)} at least`] : [];
  const last = [`epoch ${count(epoch)}`, `${milliseconds(msAgo)} ago`, ...rhythm].join(', ');
  const why = reasons.map((reason) => reasonWords[reason] ?? reason).join(', ');
  return why === '' ? last : `${last}; the last one: ${why}`;
}

function stopFacts({ stops }: ColoStatus): PairFact[] {
  if (stops === undefined) return [];
  const { median, worst, pages } = stops;
  const parts = Object.entries(stops.parts)
    .filter(([, ms]) => ms >= 0.05)
    .map(([part, ms]) => `${part === 'copy' ? `${count(pages)} pages` : part} ${ms.toFixed(1)}`);
  const where = parts.length === 0 ? '' : `   (${parts.join(', ')})`;
  return [
    [
      'guest stopped',
      `${milliseconds(median)} median, ${milliseconds(worst)} worst, ${count(stops.count)} times in the last minute${where}`,
    ],
  ];
}

function heldFacts({ held }: ColoStatus): PairFact[] {
  if (held === undefined) return [];
  if (held.packets === 0) return [['held', 'nothing']];
  return [['held', `${count(held.packets)} packets, ${size(held.bytes)}, oldest ${milliseconds(held.oldestMs)}`]];
}

function diskFacts({ disk, headline }: ColoStatus): PairFact[] {
  if (disk === undefined) return [];
  if (disk.error !== undefined) return [['disk', `FAILED: ${disk.error}`]];
  const { synchronising: sync, copying } = disk;
  if (sync !== undefined) {
    const { totalBytes, comparedBytes, sentBytes, secondsLeft } = sync;
    const left = secondsLeft === undefined ? '' : `, about ${roughly(Math.ceil(secondsLeft))}`;
    const toGo = `${size(totalBytes - comparedBytes)} left of ${size(totalBytes)} that may differ`;
    return [['disk', `copying: ${toGo}, ${size(sentBytes)} copied${left}`]];
  }
  if (copying !== undefined) {
    const done = `${size(copying.comparedBytes)} compared, ${size(copying.receivedBytes)} received`;
    return [['disk', `copying: ${done}; the primary says how much is left`]];
  }
  const inStep = headline === 'PROTECTED' || headline === 'PROTECTING' || disk.synchronised !== undefined;
  return [['disk', `${inStep ? 'in step; ' : ''}${size(disk.logBytes)} not committed`]];
}

function memoryFacts({ memory, headline }: ColoStatus): PairFact[] {
  if (memory === undefined || headline !== 'PAIRING') return [];
  return [['memory', `copying: ${size(memory.leftBytes)} left of ${size(memory.totalBytes)}`]];
}

function backupFact({ path, epoch, totalBytes, copiedBytes }: NonNullable<ColoStatus['backup']>): string {
  return `of epoch ${count(epoch)} to ${path}: ${size(totalBytes - copiedBytes)} left of ${size(totalBytes)}`;
}

function linkFact({ security, lastHeardMsAgo }: NonNullable<ColoStatus['link']>): string {
  const heard = lastHeardMsAgo === undefined ? '' : `, heard ${milliseconds(lastHeardMsAgo)} ago`;
  return `${security === 'tls' ? 'TLS 1.3' : 'PLAINTEXT'}${heard}`;
}

function arbiterFact({ arbiter }: ColoStatus): string {
  const { name, answeredInMs, answeredMsAgo, problem } = arbiter;
  if (name === 'manual') return 'manual: an operator says who goes on (colo-vmm failover)';
  const ago = answeredMsAgo === undefined ? undefined : milliseconds(answeredMsAgo);
  if (problem !== undefined) {
    return `${name} GIVES NO ANSWER: ${problem}; ${ago === undefined ? 'it never did' : `the last one came ${ago} ago`}`;
  }
  if (ago === undefined) return `${name}, not asked yet`;
  return `${name}, answered ${ago} ago${answeredInMs === undefined ? '' : ` in ${milliseconds(answeredInMs)}`}`;
}

function failoverFacts({ failover }: ColoStatus): PairFact[] {
  if (failover === undefined) return [];
  const { detectionMs, consentMs, loadMs } = failover;
  const parts = [
    `detection ${milliseconds(detectionMs)}`,
    `consent ${milliseconds(consentMs)}`,
    ...(loadMs === undefined ? [] : [`load ${milliseconds(loadMs)}`]),
  ];
  const total = milliseconds(detectionMs + consentMs + (loadMs ?? 0));
  const what = loadMs === undefined ? `${total}, and what the standby takes to load` : total;
  return [['a failover now', `would take about ${what}: ${parts.join(', ')}`]];
}

/** An event, a line. */
export function renderEvent({ at, topic, text }: ColoEvent): string {
  const ms = String(Math.floor(at % 1000)).padStart(3, '0');
  return printable(`${timeOfDay(at)}.${ms}  ${topic.padEnd(10)}  ${text}`);
}

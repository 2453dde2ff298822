import type { MachineStatus } from '../../../vmm/client/machine-status.ts';
import { headlines, milestones } from '../../../vmm/client/pair-answers.ts';
import type { ColoStatus } from '../../../vmm/monitor/colo-control.ts';
import type { MachineIdentity } from './machine-watch.ts';

/** A series' labels and its value. */
export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** A figure for Prometheus. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly kind: 'gauge' | 'counter';
  readonly labels: readonly string[];
  /**
   * None: nothing can be said now, and the figure is left out.
   *
   * @param status absent: the VMM does not answer
   * @param identity as the VMM said last; absent: it never answered
   */
  readonly samples: (status: MachineStatus | undefined, identity: MachineIdentity | undefined) => readonly Sample[];
}

/** What can be said of it; absent, nothing can. */
type Figure<T> = (of: T) => number | boolean | undefined;

type Labelled<T> = (of: T) => readonly (readonly [label: string, value: number | boolean | undefined])[];

/** A figure of the machine's own. */
function ofMachine(kind: Metric['kind'], name: string, help: string, figure: Figure<MachineStatus>): Metric {
  return {
    ...{ name: `colo_vmm_${name}`, help, kind, labels: [] },
    samples: (status) => (status === undefined ? [] : said(figure(status))),
  };
}

/** A figure of the pair that it is in. */
function ofPair(kind: Metric['kind'], name: string, help: string, figure: Figure<ColoStatus>): Metric {
  return ofMachine(kind, name, help, ({ colo }) => (colo === undefined ? undefined : figure(colo)));
}

/** As {@link ofMachine}, one for each value of a label. */
function eachOfMachine(name: string, help: string, label: string, figures: Labelled<MachineStatus>): Metric {
  return {
    ...{ name: `colo_vmm_${name}`, help, kind: name.endsWith('_total') ? 'counter' : 'gauge', labels: [label] },
    samples: (status) =>
      (status === undefined ? [] : figures(status)).flatMap(([value, figure]) =>
        said(figure).map((sample) => ({ ...sample, labels: { [label]: value } })),
      ),
  };
}

function eachOfPair(name: string, help: string, label: string, figures: Labelled<ColoStatus>): Metric {
  return eachOfMachine(name, help, label, ({ colo }) => (colo === undefined ? [] : figures(colo)));
}

function said(figure: number | boolean | undefined): Sample[] {
  return figure === undefined || Number.isNaN(figure) ? [] : [{ value: Number(figure) }];
}

/** Without the digits that a division adds. */
function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Number((ms / 1000).toFixed(9));
}

/** Nobody who is alarmed by a zero must be calmed by a VMM that hangs: then it is zero as well, and `info` says of which pair. */
function isProtected(status: MachineStatus | undefined): boolean {
  return status?.colo?.headline === 'PROTECTED' || status?.colo?.headline === 'PROTECTING';
}

function roleOf(status: MachineStatus | undefined): string {
  if (status === undefined || status.coloUnknown !== undefined) return 'unknown';
  return status.colo?.role ?? 'none';
}

/**
 * All figures, each from what `colo-vmm status --json` says (there with its doc comments). Lengths of time are seconds, sizes bytes; a
 * word that is true is 1.
 */
export const metrics: readonly Metric[] = [
  {
    ...{ name: 'colo_vmm_up', kind: 'gauge', labels: [] },
    help: '1: the VMM answers; 0: it hangs, and nothing is known of it but who it is.',
    samples: (status) => said(status !== undefined),
  },
  {
    ...{ name: 'colo_vmm_protected', kind: 'gauge', labels: [] },
    help: '1: the standby can take over the guest at once (said by either side); 0: it cannot, or nobody can say.',
    samples: (status) => said(isProtected(status)),
  },
  {
    ...{ name: 'colo_vmm_info', kind: 'gauge', labels: ['name', 'pair', 'role', 'mode', 'peer'] },
    help: 'Always 1; who this is: name of the machine, pair, role (primary, secondary, none; unknown: nobody can say), mode (buffered, comparing), peer.',
    samples: (status, identity) =>
      identity === undefined
        ? []
        : [
            {
              value: 1,
              labels: {
                name: identity.name ?? '',
                pair: identity.pair ?? '',
                role: roleOf(status),
                mode: status?.colo?.mode ?? '',
                peer: status?.colo?.link?.peer ?? '',
              },
            },
          ],
  },

  ofMachine(
    'gauge',
    'pair_known',
    '0: the thread that protects the guest hangs; no figure of the pair is there.',
    (s) => (s.colo !== undefined || s.coloUnknown !== undefined ? s.colo !== undefined : undefined),
  ),
  eachOfPair('state', 'Of the states that colo-vmm status shows first, 1 for the one it is in.', 'state', (s) =>
    headlines.map((headline) => [headline, headline === s.headline]),
  ),
  ofPair(
    'gauge',
    'state_start_time_seconds',
    'When it came into this state, in seconds since 1970. Attempts that fail change nothing of it for an UNPROTECTED guest.',
    (s) => seconds(s.since),
  ),
  ofPair(
    'gauge',
    'survivor',
    '1: it runs the guest alone because the other side was lost, or has handed it over.',
    (s) => s.survivor === true,
  ),
  ofPair('gauge', 'term', 'Term of the pair: each failover and switchover begins the next one.', (s) => s.term),
  eachOfPair(
    'events_total',
    'How often it happened in this process; events are those of --on-event.',
    'event',
    ({ milestones: counts }) =>
      counts === undefined ? [] : milestones.map((milestone) => [milestone, counts[milestone] ?? 0]),
  ),

  ofPair('gauge', 'link_up', '1: it is connected with its peer.', (s) => s.link !== undefined),
  ofPair('gauge', 'link_encrypted', '0: the connection is plaintext (--insecure).', (s) =>
    s.link === undefined ? undefined : s.link.security === 'tls',
  ),
  ofPair('gauge', 'link_silence_seconds', "How long ago the peer's last heartbeat came.", (s) =>
    seconds(s.link?.lastHeardMsAgo),
  ),

  ofPair(
    'gauge',
    'epoch',
    'The epoch that is open. Each checkpoint ends one; a new protection begins with 0.',
    (s) => s.epoch,
  ),
  ofPair('gauge', 'checkpoint_age_seconds', 'How long the standby has had its last checkpoint.', (s) =>
    seconds(s.checkpoint?.msAgo),
  ),
  ofPair('gauge', 'checkpoint_delay_seconds', 'A checkpoint is made at least this often (--checkpoint-delay).', (s) =>
    // A standby's are its primary's.
    s.role === 'primary' ? seconds(s.checkpointDelayMs) : undefined,
  ),
  ofPair(
    'counter',
    'checkpoints_total',
    'Checkpoints that were made; on the standby, received.',
    (s) => s.totals?.checkpoints,
  ),
  eachOfPair(
    'checkpoint_reasons_total',
    'What checkpoints were made for; one may be for several reasons.',
    'reason',
    ({ totals }) => Object.entries(totals?.reasons ?? {}),
  ),
  ofPair(
    'counter',
    'checkpoint_pages_total',
    'Pages of memory of all checkpoints, read while the guest was stopped.',
    (s) => s.totals?.pages,
  ),
  ofPair('counter', 'guest_stopped_seconds_total', 'For how long the guest was stopped for checkpoints.', (s) =>
    seconds(s.totals?.stoppedMs),
  ),
  ofPair(
    'gauge',
    'guest_stop_median_seconds',
    'How long a checkpoint stopped the guest, median of the last minute.',
    (s) => seconds(s.stops?.median),
  ),
  ofPair(
    'gauge',
    'guest_stop_worst_seconds',
    'How long a checkpoint stopped the guest, worst of the last minute.',
    (s) => seconds(s.stops?.worst),
  ),
  eachOfPair('guest_stop_part_seconds', 'Where the last stop of the guest went.', 'part', ({ stops }) =>
    Object.entries(stops?.parts ?? {}).map(([part, ms]) => [part, seconds(ms)]),
  ),
  eachOfPair(
    'failover_estimate_seconds',
    'How long it would take now until the standby speaks, by part.',
    'part',
    ({ failover }) => [
      ['detection', seconds(failover?.detectionMs)],
      ['consent', seconds(failover?.consentMs)],
      ['load', seconds(failover?.loadMs)],
    ],
  ),

  ofPair(
    'gauge',
    'held_packets',
    'Packets of the guest that wait for the standby to have what explains them.',
    (s) => s.held?.packets,
  ),
  ofPair('gauge', 'held_bytes', 'Bytes of these packets.', (s) => s.held?.bytes),
  ofPair('gauge', 'held_oldest_seconds', 'How long the oldest of them has waited.', (s) => seconds(s.held?.oldestMs)),
  eachOfPair(
    'compared_packets_total',
    'Comparing mode, since this protection began: packets that left because both guests said them (released), or by a policy of their flow (passed).',
    'left',
    ({ compared }) => [
      ['released', compared?.released],
      ['passed', compared?.passed],
    ],
  ),
  ofPair(
    'counter',
    'divergences_total',
    'Comparing mode, since this protection began: how often the two guests did not agree.',
    (s) => s.compared?.divergences,
  ),

  ofPair(
    'gauge',
    'standby_guest_behind_median_seconds',
    "Comparing mode: how long the last packets that both guests said had waited for the standby's, their median.",
    (s) => seconds(s.compared?.behind?.median),
  ),
  ofPair('gauge', 'standby_guest_behind_worst_seconds', 'The longest of these.', (s) =>
    seconds(s.compared?.behind?.worst),
  ),

  ofPair(
    'gauge',
    'disk_log_bytes',
    'What was written to disks and is not committed by a checkpoint on the standby.',
    (s) => s.disk?.logBytes,
  ),
  ofPair('gauge', 'disk_guest_waits', "1: the guest's writes wait, for that log is full.", (s) =>
    s.disk === undefined ? undefined : s.disk.guestWaits === true,
  ),
  ofPair('gauge', 'disk_failed', '1: a disk of this side has failed.', (s) =>
    s.disk === undefined ? undefined : s.disk.error !== undefined,
  ),
  ofPair(
    'gauge',
    'disk_sync_bytes',
    'While disks are made equal: what is to be compared.',
    (s) => s.disk?.synchronising?.totalBytes,
  ),
  ofPair(
    'gauge',
    'disk_sync_compared_bytes',
    'While disks are made equal: what has been compared.',
    ({ disk }) => (disk?.synchronising ?? disk?.copying)?.comparedBytes,
  ),
  ofPair(
    'gauge',
    'disk_sync_sent_bytes',
    'While disks are made equal: what differed and was sent; on the standby also what the guest wrote meanwhile.',
    ({ disk }) => disk?.synchronising?.sentBytes ?? disk?.copying?.receivedBytes,
  ),
  ofPair(
    'gauge',
    'disk_sync_remaining_seconds',
    'While disks are made equal: how long it will take about.',
    (s) => s.disk?.synchronising?.secondsLeft,
  ),

  ofPair(
    'gauge',
    'memory_copy_remaining_bytes',
    'While memory is first copied: what is left, the guest writing meanwhile.',
    ({ memory }) => memory?.leftBytes,
  ),
  ofPair(
    'gauge',
    'disk_last_sync_seconds',
    'How long it took to make disks equal, for this protection.',
    (s) => s.disk?.synchronised?.seconds,
  ),
  ofPair(
    'gauge',
    'disk_last_sync_compared_bytes',
    'What may have differed then, and was compared.',
    (s) => s.disk?.synchronised?.comparedBytes,
  ),
  ofPair('gauge', 'disk_last_sync_sent_bytes', 'What was sent then.', (s) => s.disk?.synchronised?.sentBytes),
  ofPair(
    'gauge',
    'disk_marked_bytes',
    'What would be compared if this host died now and came back, beside what the survivor writes.',
    (s) => s.disk?.markedBytes,
  ),
  ofPair(
    'gauge',
    'arbiter_up',
    '1: the last question to the arbiter was answered. Left out while it was not asked, and if it is manual.',
    ({ arbiter }) => {
      if (arbiter.name === 'manual' || (arbiter.problem === undefined && arbiter.answeredMsAgo === undefined))
        return undefined;
      return arbiter.problem === undefined;
    },
  ),
  ofPair('gauge', 'arbiter_answer_seconds', 'How long its last answer took.', (s) => seconds(s.arbiter.answeredInMs)),
  ofPair(
    'gauge',
    'arbiter_answer_age_seconds',
    'How long ago its last answer came; it is asked every few seconds.',
    (s) => seconds(s.arbiter.answeredMsAgo),
  ),

  ofMachine(
    'gauge',
    'guest_running',
    '1: the guest runs here. Of a standby 0, and of a guest that is paused or fenced.',
    (s) => s.state === 'running',
  ),
  ofMachine('gauge', 'uptime_seconds', 'How long this process has run.', (s) => s.uptimeSeconds),
  ofMachine('gauge', 'vcpus', 'vCPUs of the machine; 0 on a standby that has not taken over.', (s) => s.cpus),
  ofMachine(
    'gauge',
    'memory_bytes',
    "The guest's memory; 0 on a standby that has not taken over.",
    (s) => s.memoryBytes,
  ),
  ofMachine('gauge', 'guest_clock_behind_seconds', "What the guest's clock has still to catch up with.", (s) =>
    seconds(s.clockBehindMs),
  ),
  eachOfMachine(
    'disk_ok',
    '0: a write to this disk failed, or the disk of the host is full, and the machine stopped.',
    'disk',
    (s) => s.disks.map(({ id, ioStatus }) => [id, ioStatus === 'ok']),
  ),
  eachOfMachine('card_up', '0: the TAP of this network card was removed.', 'tap', (s) =>
    s.cards.map(({ tap, gone }) => [tap, !gone]),
  ),
];

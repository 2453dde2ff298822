import { request } from 'node:http';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { MachineWatch } from '../../../../../src/colo/observe/web/machine-watch.ts';
import { metrics } from '../../../../../src/colo/observe/web/metric-table.ts';
import { metricsPage } from '../../../../../src/colo/observe/web/metrics.ts';
import { ReadOnlyServer } from '../../../../../src/colo/observe/web/read-only-server.ts';
import type { ColoStatus } from '../../../../../src/vmm/monitor/colo-control.ts';
import { ControlSocket } from '../../../../../src/vmm/monitor/control-socket.ts';
import { Monitor } from '../../../../../src/vmm/monitor/monitor.ts';
import { FakeColo, protectedStatus } from '../../../../support/fake-colo.ts';
import { FakeMachine } from '../../../../support/fake-machine.ts';
import { temporaryFolder } from '../../../../support/vmm-process.ts';

/** Who a machine of {@link protectedStatus} is, if it hangs. */
const lastKnown = 'colo_vmm_info{name="mine",pair="web",role="unknown",mode="",peer=""}';

/** A machine's monitor on a control socket, and what is served of it. */
async function served(t: Test, status?: ColoStatus, pid = process.pid) {
  const colo = new FakeColo();
  colo.current = status;
  const machine = new FakeMachine();
  const control = await ControlSocket.claim(join(temporaryFolder(t), 'control'));
  t.teardown(() => control.close());
  control.serve(new Monitor(machine, { name: 'mine', colo }));
  const watch = new MachineWatch(control.path, pid);
  t.teardown(() => watch.close());
  const server = await ReadOnlyServer.listen(
    { host: '127.0.0.1', port: 0 },
    new Map([['/metrics', () => metricsPage(watch)]]),
  );
  t.teardown(() => server.close());
  return { colo, machine, server };
}

/** The page as Prometheus gets it: series and their values. */
async function scrape({
  port,
}: ReadOnlyServer): Promise<{ readonly text: string; readonly series: Map<string, number> }> {
  const text = await new Promise<string>((resolve, reject) => {
    request({ host: '127.0.0.1', port, path: '/metrics' }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        body += piece;
      });
      response.once('end', () => resolve(body));
    })
      .once('error', reject)
      .end();
  });
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const series = lines.map((line) => {
    const cut = line.lastIndexOf(' ');
    return [line.slice(0, cut), Number(line.slice(cut + 1))] as const;
  });
  return { text, series: new Map(series) };
}

/** All that a status can say. */
const whole: ColoStatus = {
  ...protectedStatus,
  survivor: true,
  mode: 'comparing',
  modeWhy: 'so it was started',
  compared: {
    released: 1000,
    passed: 7,
    divergences: 3,
    checkpoints: 40,
    behind: { median: 2, worst: 41 },
    recent: [],
  },
  disk: {
    logBytes: 98_304,
    guestWaits: true,
    error: 'no medium',
    synchronising: { totalBytes: 2 ** 30, comparedBytes: 2 ** 29, sentBytes: 2 ** 20, secondsLeft: 12 },
    synchronised: { totalBytes: 2 ** 30, comparedBytes: 2 ** 30, sentBytes: 2 ** 21, seconds: 30 },
    markedBytes: 65_536,
  },
  memory: { totalBytes: 2 ** 28, leftBytes: 2 ** 20 },
  failover: { detectionMs: 200, consentMs: 60, loadMs: 4 },
  totals: { checkpoints: 15_204, stoppedMs: 13_683.6, pages: 9_000_000, reasons: { delay: 15_000, divergence: 204 } },
  milestones: { protected: 2, failover: 1 },
};

test('figures are those of status, in seconds and bytes', async (t) => {
  const { server } = await served(t, whole);
  const { series } = await scrapeKnown(server);
  t.match(Object.fromEntries(series), {
    colo_vmm_up: 1,
    colo_vmm_standby_guest_behind_median_seconds: 0.002,
    colo_vmm_standby_guest_behind_worst_seconds: 0.041,
    colo_vmm_protected: 1,
    'colo_vmm_info{name="mine",pair="web",role="primary",mode="comparing",peer="b.example"}': 1,
    colo_vmm_pair_known: 1,
    'colo_vmm_state{state="PROTECTED"}': 1,
    'colo_vmm_state{state="UNPROTECTED"}': 0,
    colo_vmm_state_start_time_seconds: whole.since / 1000,
    colo_vmm_term: 1,
    'colo_vmm_events_total{event="failover"}': 1,
    'colo_vmm_events_total{event="fenced"}': 0,
    colo_vmm_link_up: 1,
    colo_vmm_link_silence_seconds: 0.012,
    colo_vmm_checkpoint_age_seconds: 0.18,
    colo_vmm_checkpoint_delay_seconds: 0.5,
    colo_vmm_checkpoints_total: 15_204,
    'colo_vmm_checkpoint_reasons_total{reason="divergence"}': 204,
    colo_vmm_guest_stopped_seconds_total: 13.6836,
    colo_vmm_guest_stop_worst_seconds: 0.0021,
    'colo_vmm_guest_stop_part_seconds{part="copy"}': 0.0004,
    'colo_vmm_failover_estimate_seconds{part="consent"}': 0.06,
    colo_vmm_held_packets: 2,
    colo_vmm_held_oldest_seconds: 0.002,
    'colo_vmm_compared_packets_total{left="passed"}': 7,
    colo_vmm_divergences_total: 3,
    colo_vmm_disk_log_bytes: 98_304,
    colo_vmm_disk_guest_waits: 1,
    colo_vmm_disk_failed: 1,
    colo_vmm_disk_sync_compared_bytes: 2 ** 29,
    colo_vmm_disk_sync_remaining_seconds: 12,
    colo_vmm_memory_copy_remaining_bytes: 2 ** 20,
    colo_vmm_arbiter_up: 1,
    colo_vmm_arbiter_answer_seconds: 0.003,
    colo_vmm_guest_running: 1,
    colo_vmm_vcpus: 2,
    'colo_vmm_disk_ok{disk="root"}': 1,
    'colo_vmm_card_up{tap="tap0"}': 1,
  });
  t.ok((series.get('process_resident_memory_bytes') ?? 0) > 1 << 20);
  t.ok((series.get('process_open_fds') ?? 0) > 3);
});

test('a status that says all there is leaves no figure out', async (t) => {
  const { server } = await served(t, whole);
  const { text } = await scrapeKnown(server);
  for (const { name, kind } of metrics) t.match(text, new RegExp(`^# TYPE ${name} ${kind}$`, 'm'));
});

test('names and units are as Prometheus wants them', async (t) => {
  for (const { name, kind, help } of metrics) {
    t.match(name, /^colo_vmm_[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
    t.equal(name.endsWith('_total'), kind === 'counter', name);
    t.notMatch(name, /_(ms|milliseconds|kib|mib|minutes)(_|$)/);
    t.match(help, /^[^\n]+\.$/, `${name} is explained in a line`);
  }
  t.equal(new Set(metrics.map(({ name }) => name)).size, metrics.length);
});

test('what is not said any more is not there any more, and what follows a change of roles is', async (t) => {
  const { server, colo } = await served(t, whole);
  await scrapeKnown(server);
  const { disk: _disk, held: _held, compared: _compared, ...less } = whole;
  const disk = { logBytes: 0, copying: { comparedBytes: 4096, receivedBytes: 512 } };
  colo.current = { ...less, role: 'secondary', headline: 'PAIRING', disk };
  const pairing = await changed(server, (now) => now.get('colo_vmm_state{state="PAIRING"}') === 1);
  t.equal(pairing.series.get('colo_vmm_disk_sync_compared_bytes'), 4096);
  t.equal(pairing.series.get('colo_vmm_disk_sync_sent_bytes'), 512);
  t.notMatch(pairing.text, 'colo_vmm_disk_sync_bytes', 'how much there is, a standby does not know');
  colo.current = { ...less, role: 'secondary', headline: 'PROTECTING', mode: 'buffered' };
  const { text, series } = await changed(server, (now) => now.get('colo_vmm_state{state="PROTECTING"}') === 1);
  t.equal(series.get('colo_vmm_protected'), 1);
  t.notMatch(text, 'colo_vmm_disk_log_bytes');
  t.notMatch(text, 'colo_vmm_held_packets');
  t.notMatch(text, 'role="primary"');
  t.match(text, 'role="secondary"');
});

/** The page of a machine that answers; one that is slow to is asked again. */
function scrapeKnown(server: ReadOnlyServer) {
  return changed(server, (series) => series.get('colo_vmm_up') === 1);
}

/** The first page that is so: what was asked a moment ago is not asked again. */
async function changed(server: ReadOnlyServer, isIt: (series: Map<string, number>) => boolean) {
  for (;;) {
    const page = await scrape(server);
    if (isIt(page.series)) return page;
  }
}

test('a machine in no pair is not protected', async (t) => {
  const { server } = await served(t);
  const { series, text } = await scrapeKnown(server);
  t.equal(series.get('colo_vmm_up'), 1);
  t.equal(series.get('colo_vmm_protected'), 0);
  t.match(text, 'role="none"');
  t.notMatch(text, /colo_vmm_(pair_known|state|arbiter_up)/);
});

for (const [what, arbiter, wanted] of [
  ['an operator', { name: 'manual' }, undefined],
  ['one that was not asked yet', { name: 'etcd' }, undefined],
  ['one that answers', { name: 'etcd', answeredMsAgo: 5, answeredInMs: 3 }, 1],
  ['one that gives no answer any more', { name: 'etcd', answeredMsAgo: 5, answeredInMs: 3, problem: 'timeout' }, 0],
  ['one that never did', { name: 'etcd', problem: 'ECONNREFUSED' }, 0],
] as const) {
  test(`of an arbiter that is ${what} is said ${wanted ?? 'nothing'}`, async (t) => {
    const { server } = await served(t, { ...protectedStatus, arbiter });
    t.equal((await scrapeKnown(server)).series.get('colo_vmm_arbiter_up'), wanted);
  });
}

test('a pair whose thread hangs is not protected, and that is said', { timeout: 20_000 }, async (t) => {
  const { server, colo } = await served(t);
  colo.status = () => new Promise(() => {});
  const { series } = await scrapeKnown(server);
  t.equal(series.get('colo_vmm_up'), 1);
  t.equal(series.get('colo_vmm_pair_known'), 0);
  t.equal(series.get('colo_vmm_protected'), 0);
  t.equal(series.get('colo_vmm_info{name="mine",pair="",role="unknown",mode="",peer=""}'), 1, 'it never said which');
});

test('of a pair whose thread hangs since it was asked first is known which one it is', {
  timeout: 20_000,
}, async (t) => {
  const { server, colo } = await served(t, protectedStatus);
  await scrapeKnown(server);
  colo.status = () => new Promise(() => {});
  const { series } = await changed(server, (now) => now.get('colo_vmm_pair_known') === 0);
  t.equal(series.get('colo_vmm_protected'), 0);
  t.equal(series.get(lastKnown), 1);
});

test('a machine that does not answer is not up, and is again when it does', async (t) => {
  const { server, machine } = await served(t, protectedStatus);
  await scrapeKnown(server);
  machine.state = 'ended'; // which answers nobody
  const { series, text } = await changed(server, (now) => now.get('colo_vmm_up') === 0);
  t.equal(series.get('colo_vmm_protected'), 0);
  t.equal(series.get(lastKnown), 1, 'whoever is woken by that zero is told of which pair');
  t.notMatch(text, /colo_vmm_state/);
  t.ok(series.has('process_resident_memory_bytes'), 'the process is there');
  machine.state = 'running';
  await changed(server, (now) => now.get('colo_vmm_up') === 1);
});

test("another process's machine is not taken for this one's", async (t) => {
  const { server } = await served(t, protectedStatus, process.pid + 1);
  const { series, text } = await scrape(server);
  t.equal(series.get('colo_vmm_up'), 0);
  t.notMatch(text, /colo_vmm_info/);
});

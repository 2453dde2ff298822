import { test } from 'tap';
import * as v from 'valibot';
import type { Reason } from '../../../../src/colo/core/primary/pacing.ts';
import { pairEvent, pairStatus } from '../../../../src/vmm/client/pair-answers.ts';
import { renderEvent, renderPair } from '../../../../src/vmm/client/pair-status.ts';
import type { ColoStatus } from '../../../../src/vmm/monitor/colo-control.ts';
import { protectedStatus } from '../../../support/fake-colo.ts';

process.env.TZ = 'UTC';

/** Two hours and ten minutes later. */
const now = protectedStatus.since + 7_800_500;

/** What most sides have that protect nobody. */
const { link: _link, checkpoint: _checkpoint, stops, held: _held, disk: _disk, ...bare } = protectedStatus;

function lines(status: ColoStatus): string[] {
  return renderPair(taken(status), now);
}

/** As a client takes it from a machine. */
function taken(status: ColoStatus): ColoStatus {
  return v.parse(pairStatus, JSON.parse(JSON.stringify(status))) as ColoStatus;
}

test('a guest that is safe', async (t) => {
  t.strictSame(lines(protectedStatus), [
    'web   PROTECTED since 14:02:11 (2 h 10 min)      primary, here; standby b.example, term 1',
    '      checkpoint     epoch 15,204, 180 ms ago, every 500 ms at least; the last one: output waited',
    '      guest stopped  0.9 ms median, 2.1 ms worst, 119 times in the last minute   (vcpus 0.2, devices 0.2, 611 pages 0.4, resume 0.1)',
    '      mode           buffered',
    '      held           2 packets, 1.4 KiB, oldest 2 ms',
    '      disk           in step; 96 KiB not committed',
    '      link           TLS 1.3, heard 12 ms ago',
    '      arbiter        etcd http://c:2379, answered 400 ms ago in 3 ms',
  ]);
});

test('how the guests of a pair that compares agree, and how far they are apart', async (t) => {
  const compared = { released: 12_345, passed: 0, divergences: 2, checkpoints: 40, recent: [] };
  const modeOf = (status: ColoStatus): string | undefined => lines(status).find((line) => line.includes(' mode '));
  const comparing = { ...protectedStatus, mode: 'comparing', modeWhy: 'both guests run', compared } as const;
  const said =
    '      mode           comparing: both guests run; 12,345 packets left because both guests said them, 2 times they did not agree, 40 checkpoints';
  t.equal(modeOf(comparing), said);
  t.equal(
    modeOf({ ...comparing, compared: { ...compared, behind: { median: 1.4, worst: 37.2 } } }),
    `${said}; the standby's guest was 1.4 ms behind, at worst 37 ms, in what they said last`,
  );
});

test('a port whose output leaves unseen is marked unsafe, and no other', async (t) => {
  const flows = [{ port: 514, policy: 'pass', unsafe: true } as const, { port: 443, policy: 'buffer' }];
  const but = lines({ ...protectedStatus, flows }).filter((line) => line.includes(' but '));
  t.strictSame(but, [
    '      but            UNSAFE: port 514 has policy=pass: after a failover its clients may have been told what nobody knows of',
  ]);
});

test('what a failover would cost now', async (t) => {
  const failover = { detectionMs: 200, consentMs: 60, loadMs: 4 };
  t.equal(
    lines({ ...protectedStatus, failover }).at(-1),
    '      a failover now would take about 264 ms: detection 200 ms, consent 60 ms, load 4 ms',
  );
  t.equal(
    lines({ ...protectedStatus, failover: { detectionMs: 200, consentMs: 60 } }).at(-1),
    '      a failover now would take about 260 ms, and what the standby takes to load: detection 200 ms, consent 60 ms',
    'a primary does not know more',
  );
});

const standby = { ...bare, role: 'secondary', address: '0.0.0.0:7000' } as const;
const peer = { peer: 'a.example', security: 'tls' } as const;

for (const [what, status, first] of [
  [
    'a standby that could take over',
    { ...standby, headline: 'PROTECTING', link: peer },
    'PROTECTING since 14:02:11 (2 h 10 min)     standby, here; primary a.example, term 1',
  ],
  [
    'a primary that pairs',
    { ...bare, headline: 'PAIRING', link: { ...peer, peer: 'b.example' } },
    'PAIRING since 14:02:11 (2 h 10 min)        primary, here; to be protected by b.example',
  ],
  [
    'a standby that pairs',
    { ...standby, headline: 'PAIRING', link: peer },
    'PAIRING since 14:02:11 (2 h 10 min)        standby, here; primary a.example',
  ],
  [
    'a standby that nobody has asked',
    { ...standby, headline: 'LISTENING' },
    'LISTENING since 14:02:11 (2 h 10 min)      standby, here; nobody to protect yet, waits on 0.0.0.0:7000',
  ],
  [
    'a guest that is not protected',
    { ...bare, headline: 'UNPROTECTED' },
    'UNPROTECTED since 14:02:11 (2 h 10 min)    alone, here; term 1',
  ],
  [
    'a survivor',
    { ...bare, headline: 'UNPROTECTED', survivor: true, term: 2 },
    'UNPROTECTED since 14:02:11 (2 h 10 min)    survivor, here; term 2',
  ],
  [
    'a primary that may not go on alone',
    { ...bare, headline: 'WAITING', held: { packets: 41, bytes: 9000, oldestMs: 8000 } },
    'WAITING since 14:02:11 (2 h 10 min)        primary, here; the guest runs on, its output is held (41 packets)',
  ],
  [
    'a standby that may not take over',
    { ...standby, headline: 'WAITING' },
    'WAITING since 14:02:11 (2 h 10 min)        standby, here; it may not take over yet',
  ],
  [
    'a standby that takes over',
    { ...standby, headline: 'TAKEOVER', term: 2 },
    'TAKEOVER since 14:02:11 (2 h 10 min)       standby, here; the guest is about to run; term 2',
  ],
  [
    'a primary whose pair went on elsewhere',
    { ...bare, headline: 'FENCED' },
    'FENCED since 14:02:11 (2 h 10 min)         was primary, here; the guest is stopped',
  ],
  [
    'a standby whose primary went on',
    { ...standby, headline: 'FENCED' },
    'FENCED since 14:02:11 (2 h 10 min)         was standby, here; the primary goes on without it',
  ],
  [
    'a side that has ended',
    { ...standby, headline: 'ENDED' },
    'ENDED since 14:02:11 (2 h 10 min)          was standby, here',
  ],
] as const satisfies readonly (readonly [string, ColoStatus, string])[]) {
  test(`${what}: where, since when, why and what to do`, async (t) => {
    const [drawn, ...more] = lines({ ...status, why: 'that happened', next: 'do this' });
    t.equal(drawn, `web   ${first}`);
    const safe = status.headline === 'PROTECTING' || status.headline === 'PAIRING';
    t.equal(more[0], safe ? '      next           do this' : '      why            that happened');
    t.ok(more.includes('      next           do this'));
  });
}

test('why a guest has no standby is said whatever has been tried since', async (t) => {
  const unprotected = { since: protectedStatus.since, why: 'the standby was stopped' };
  const alone = { ...bare, headline: 'UNPROTECTED', unprotected } as const;
  t.strictSame(lines({ ...alone, why: unprotected.why })[1], '      why            the standby was stopped');
  t.strictSame(lines({ ...alone, why: 'b.example cannot be reached: ECONNREFUSED' }).slice(1, 3), [
    '      why            the standby was stopped',
    '      last attempt   b.example cannot be reached: ECONNREFUSED',
  ]);
  const pairing = {
    ...alone,
    headline: 'PAIRING',
    since: now - 5000,
    why: 'disks and memory are being copied',
  } as const;
  t.strictSame(lines(pairing).slice(0, 2), [
    'web   PAIRING since 16:12:06 (5 s)               primary, here; to be protected by b.example:7000',
    '      unprotected    since 14:02:11 (2 h 10 min): the standby was stopped',
  ]);
});

test('what a takeover was like for clients stands between why and what to do', async (t) => {
  const survivor = { ...bare, headline: 'UNPROTECTED', survivor: true, term: 2, why: 'a.example was lost' } as const;
  const took = lines({ ...survivor, takeover: { silenceMs: 212.4, sentAgain: 1003 }, next: 'start a standby' });
  t.strictSame(took.slice(1, 4), [
    '      why            a.example was lost',
    '      clients        silence of 212 ms; 1,003 packets sent again',
    '      next           start a standby',
  ]);
  t.notMatch(lines(survivor).join('\n'), /clients/, 'a primary that goes on alone took nothing over');
});

test('of a pair that is over, the last checkpoint tells nothing', async (t) => {
  const drawn = lines({ ...protectedStatus, headline: 'UNPROTECTED', disk: { logBytes: 0, error: 'root: EIO' } });
  t.notMatch(drawn.join('\n'), /checkpoint|guest stopped|held|mode/);
  t.ok(drawn.includes('      disk           FAILED: root: EIO'), 'but a disk that has failed does');
});

test('what began on another day says which', async (t) => {
  const [first] = renderPair(protectedStatus, protectedStatus.since + 90_000_000);
  t.match(first, /PROTECTED since 2026-11-28 14:02:11 \(1 d 1 h\)/);
});

for (const [what, status, line] of [
  [
    'an arbiter that does not answer',
    { ...protectedStatus, arbiter: { name: 'etcd http://c:2379', problem: 'ECONNREFUSED', answeredMsAgo: 190_000 } },
    'arbiter        etcd http://c:2379 GIVES NO ANSWER: ECONNREFUSED; the last one came 3 min 10 s ago',
  ],
  [
    'an arbiter that never answered',
    { ...bare, headline: 'PAIRING', arbiter: { name: 'etcd http://c:2379', problem: 'ECONNREFUSED' } },
    'arbiter        etcd http://c:2379 GIVES NO ANSWER: ECONNREFUSED; it never did',
  ],
  [
    'an operator who is the arbiter',
    { ...protectedStatus, arbiter: { name: 'manual' } },
    'arbiter        manual: an operator says who goes on (colo-vmm failover)',
  ],
  [
    'a guest whose writes wait, while nobody says who goes on',
    { ...bare, headline: 'WAITING', disk: { logBytes: 2 ** 26, guestWaits: true } },
    "but            the guest's writes to its disks wait: the log of what the standby has not laid down is full",
  ],
  [
    'a standby whose disk is slower than the guest writes',
    {
      ...protectedStatus,
      disk: { logBytes: 2 ** 26, guestWaits: true, slowStandby: { share: 0.634, bytesPerSecond: 8 * 2 ** 20 } },
    },
    "but            the standby's disk is slower than the guest writes: of the last seconds its writes waited 63 %, for a disk that takes 8 MiB/s there: give the standby a faster one, or have the guest write less",
  ],
  [
    'a state directory that takes nothing',
    { ...protectedStatus, changesLost: 'nothing can be written there: EIO' },
    'but            where the guest writes is not written down (--state: nothing can be written there: EIO): if this process ends, the next pairing compares all of its disks; a pairing begins that anew',
  ],
  [
    'a link that anybody can read',
    { ...protectedStatus, link: { peer: '10.0.0.2', security: 'plaintext' } },
    'but            nothing is encrypted (--insecure): whoever reaches the port is believed',
  ],
  [
    'disks that are not equal yet',
    {
      ...bare,
      headline: 'PAIRING',
      disk: {
        logBytes: 0,
        synchronising: { totalBytes: 2 ** 33, comparedBytes: 2 ** 31, sentBytes: 2 ** 30, secondsLeft: 39.2 },
      },
    },
    'disk           copying: 6 GiB left of 8 GiB that may differ, 1 GiB copied, about 40 s',
  ],
  [
    'disks of which nobody knows yet how long they take',
    {
      ...bare,
      headline: 'PAIRING',
      disk: { logBytes: 0, synchronising: { totalBytes: 1024, comparedBytes: 0, sentBytes: 0 } },
    },
    'disk           copying: 1 KiB left of 1 KiB that may differ, 0 B copied',
  ],
  [
    'how far a standby is with disks that are made equal',
    {
      ...standby,
      headline: 'PAIRING',
      disk: { logBytes: 0, copying: { comparedBytes: 2 ** 31, receivedBytes: 2 ** 20 } },
    },
    'disk           copying: 2 GiB compared, 1 MiB received; the primary says how much is left',
  ],
  [
    'memory that is being copied',
    { ...bare, headline: 'PAIRING', memory: { totalBytes: 2 ** 33, leftBytes: 3 * 2 ** 30 } },
    'memory         copying: 3 GiB left of 8 GiB',
  ],
  [
    'a backup that is being made',
    { ...protectedStatus, backup: { path: '/backup/monday', epoch: 1200, totalBytes: 2 ** 33, copiedBytes: 2 ** 31 } },
    'backup         of epoch 1,200 to /backup/monday: 6 GiB left of 8 GiB',
  ],
  [
    'a disk that has failed',
    { ...protectedStatus, disk: { logBytes: 0, error: 'root: EIO' } },
    'disk           FAILED: root: EIO',
  ],
  [
    'no output that waits',
    { ...protectedStatus, held: { packets: 0, bytes: 0, oldestMs: 0 } },
    'held           nothing',
  ],
] as const satisfies readonly (readonly [string, ColoStatus, string])[]) {
  test(`shows ${what}`, async (t) => {
    const drawn = lines(status);
    t.ok(drawn.includes(`      ${line}`), drawn.join('\n'));
  });
}

test('a safe guest whose arbiter is silent is told to be less so, before anything else', async (t) => {
  const arbiter = { name: 'etcd http://c:2379', problem: 'ECONNREFUSED' };
  t.match(
    lines({ ...protectedStatus, arbiter })[1],
    /^ +but +the arbiter could not say who goes on: if the hosts lose each other/,
  );
  t.notMatch(
    lines({ ...bare, headline: 'UNPROTECTED', arbiter }).join('\n'),
    /^ +but/m,
    'but not where none is needed',
  );
});

test('what a peer says cannot move the cursor', async (t) => {
  const evil = 'cannot\u001b[2J\r\nweb   PROTECTED\u202e';
  const drawn = lines({ ...bare, headline: 'UNPROTECTED', why: evil });
  t.equal(drawn[1], '      why            cannot [2J web   PROTECTED ');
});

test('draws an event with its time of day', async (t) => {
  const at = Date.UTC(2026, 10, 28, 16, 12, 39) + 5.7;
  t.equal(
    renderEvent({ at, monotonicMs: 1, topic: 'peer', text: 'silent for 200 ms' }),
    '16:12:39.005  peer        silent for 200 ms',
  );
});

for (const [what, change] of [
  ['no headline', { headline: 'SAFE' }],
  ['a number that is none', { term: null }],
  ['a text that is none', { why: 5 }],
  ['parts of a stop that are no times', { stops: { ...stops, parts: { pause: 'long' } } }],
] as const) {
  test(`does not take ${what} for a status`, async (t) => {
    t.notOk(v.is(pairStatus, { ...protectedStatus, ...change }));
  });
}

test('nothing is the status of who is in no pair', async (t) => {
  t.equal(v.parse(pairStatus, {}), undefined);
  t.notOk(v.is(pairEvent, { at: 1, monotonicMs: 2, topic: 'rumour', text: '' }));
});

test('every reason of a checkpoint is said in words', async (t) => {
  const said: Readonly<Record<Reason, RegExp>> = {
    delay: /the delay was over/,
    output: /output waited/,
    command: /somebody asked/,
    parameter: /a parameter was changed/,
    divergence: /did not agree/,
    room: /the standby had no room/,
    backlog: /held up all behind it/,
    mode: /the mode is changed/,
    'disk-log': /disk log was half full/,
    switchover: /the roles change/,
    reset: /the guest was reset/,
    end: /the guest ended/,
  };
  for (const [reason, words] of Object.entries(said)) {
    const checkpoint = { epoch: 7, msAgo: 1, reasons: [reason] };
    t.match(lines({ ...protectedStatus, checkpoint })[1], words);
  }
});

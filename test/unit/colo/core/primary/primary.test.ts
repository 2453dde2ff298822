import { test } from 'tap';
import { Primary } from '../../../../../src/colo/core/primary/primary.ts';
import { encodeFrame } from '../../../../../src/colo/protocol/message-codec.ts';
import { type Hello, type Message, wantedFor } from '../../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../../src/colo/protocol/numbers.ts';
import { shape } from '../../protocol/messages.ts';
import { newPrimary, protect, protectedPrimary, type ScriptedPrimary, seed, settings } from '../scripted.ts';

const e = epoch;
const heartbeat = (echo: number, laidBytes = 0) => ({ kind: 'heartbeat', clock: 5, echo, laidBytes }) as const;

test('its standby hears whose output is not compared, if somebody said so', async (t) => {
  const flows = [{ port: 443, policy: 'pass' }] as const;
  for (const given of [{ flows }, {}]) {
    const primary = new Primary({ pair: 'web', shape, term: term(1), settings, ...given });
    primary.handle({ kind: 'command', command: { name: 'protect' } }, 0);
    const [sent] = primary.handle({ kind: 'connected' }, 0);
    t.strictSame(sent?.kind === 'send' && sent.message.kind === 'hello' && (sent.message as Hello).flows, given.flows);
  }
});

test('a pair is made: hello, disks, live pass, a stop with output held, READY', async (t) => {
  const primary = newPrimary({ livePasses: 1 });
  t.same(primary.on({ kind: 'command', command: { name: 'protect' } }), ['connect']);
  t.same(primary.on({ kind: 'connected' }), ['send hello']);
  t.same(primary.hears({ kind: 'welcome', shape }), ['attach', 'synchronise-disks', 'send heartbeat']);
  t.same(primary.on({ kind: 'disks-in-step' }), ['live-pass 0']);
  t.same(primary.on({ kind: 'passed', epoch: e(0), worthAnother: true }), ['hold', 'capture 0']);
  t.same(primary.on({ kind: 'captured', epoch: e(0), stateBytes: 8, stoppedMs: 1 }), [
    'send vmstate-send 0',
    'transmit 0',
    'send vmstate-size 0',
  ]);
  t.same(primary.hears({ kind: 'checkpoint-ready', epoch: e(0) }), ['send protected', 'permit 0']);
  t.equal(primary.core.phase, 'protected');
});

test('a standby that was slow while the pair was made is not lost as soon as it is counted on', async (t) => {
  const primary = newPrimary({ livePasses: 1 });
  primary.on({ kind: 'command', command: { name: 'protect' } });
  primary.on({ kind: 'connected' });
  primary.hears({ kind: 'welcome', shape });
  primary.on({ kind: 'disks-in-step' });
  primary.on({ kind: 'passed', epoch: e(0), worthAnother: true });
  primary.on({ kind: 'captured', epoch: e(0), stateBytes: 8, stoppedMs: 1 });
  const { detectMs, heartbeatMs } = settings;
  for (const end = primary.now + 3 * detectMs; primary.now < end; )
    t.same(primary.rings('heartbeat', heartbeatMs), ['send heartbeat']);
  t.same(primary.hears({ kind: 'checkpoint-ready', epoch: e(0) }), ['send protected', 'permit 0']);
  for (const end = primary.now + detectMs - heartbeatMs; primary.now < end; )
    t.same(primary.rings('heartbeat', heartbeatMs), ['send heartbeat']);
  t.ok(primary.rings('heartbeat', heartbeatMs).includes('close'), 'but then it is');
});

test('a checkpoint goes as in A.2, and its output is explained by RECEIVED', async (t) => {
  const primary = protectedPrimary();
  t.same(primary.on({ kind: 'command', command: { name: 'checkpoint' } }), ['send checkpoint-request 1', 'capture 1']);
  t.same(primary.hears({ kind: 'checkpoint-reply', epoch: e(1) }), []);
  t.same(primary.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 }), [
    'send vmstate-send 1',
    'transmit 1',
    'send vmstate-size 1',
  ]);
  t.same(primary.hears({ kind: 'vmstate-received', epoch: e(1) }), ['permit 1']);
  t.same(primary.on({ kind: 'output-left', epoch: e(1) }), ['send output-left 1']);
  t.same(primary.hears({ kind: 'vmstate-loaded', epoch: e(1) }), []);
  t.equal(primary.core.step, 'idle');
});

test('a reply may come after the stop, but not after RECEIVED', async (t) => {
  const late = protectedPrimary();
  late.on({ kind: 'command', command: { name: 'checkpoint' } });
  late.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  late.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  t.same(late.hears({ kind: 'vmstate-received', epoch: e(1) }), ['permit 1']);
  const never = protectedPrimary();
  never.on({ kind: 'command', command: { name: 'checkpoint' } });
  never.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  const message = { kind: 'vmstate-received', epoch: e(1) } as const;
  const effects = never.effects({ kind: 'frame', frame: { role: 'secondary', term: term(3), message } });
  t.match(effects[0], {
    notice: { kind: 'peer-lost', why: 'the peer sent vmstate-received where checkpoint-reply was expected' },
  });
});

test('several triggers before a stop are one checkpoint; one that comes while it is ordered is for the next', async (t) => {
  const primary = protectedPrimary();
  primary.on({ kind: 'command', command: { name: 'checkpoint' } });
  t.same(primary.on({ kind: 'disk-log-half' }), []);
  primary.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  // The stop is over, and the guest has answered, before the core hears that it is.
  t.same(primary.on({ kind: 'output-waits' }), []);
  primary.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 0 });
  primary.hears({ kind: 'vmstate-received', epoch: e(1) });
  t.same(primary.hears({ kind: 'vmstate-loaded', epoch: e(1) }), ['send checkpoint-request 2', 'capture 2']);
});

test('a reason that can wait begins with live passes, another one with REQUEST', async (t) => {
  const patient = protectedPrimary({ livePasses: 2 });
  t.same(patient.rings('checkpoint', settings.checkpointDelayMs), ['live-pass 1']);
  t.same(patient.on({ kind: 'passed', epoch: e(1), worthAnother: true }), ['live-pass 1']);
  t.same(patient.on({ kind: 'passed', epoch: e(1), worthAnother: true }), ['send checkpoint-request 1', 'capture 1']);
  const urgent = protectedPrimary({ livePasses: 2 });
  t.same(urgent.on({ kind: 'guest-reset' }), ['send checkpoint-request 1', 'capture 1']);
});

test('output leaves until the time that S answered for, and no longer once P withdraws', async (t) => {
  const primary = protectedPrimary();
  const [permit] = primary.effects({
    kind: 'frame',
    frame: { role: 'secondary', term: term(3), message: heartbeat(990) },
  });
  t.match(permit, { kind: 'permit', through: 0, until: 990 + settings.leaseMs });
  const lost = primary.effects({ kind: 'closed', by: 'peer' });
  const withdrawn = lost.findIndex((effect) => effect.kind === 'permit' && effect.until === Number.NEGATIVE_INFINITY);
  t.ok(withdrawn >= 0 && withdrawn < lost.findIndex((effect) => effect.kind === 'close'));
});

for (const [what, message, why] of [
  [
    'a message out of order',
    { kind: 'vmstate-loaded', epoch: e(1) },
    'the peer sent vmstate-loaded where checkpoint-reply was expected',
  ],
  [
    'an epoch of the future',
    { kind: 'checkpoint-reply', epoch: e(9) },
    'the peer sent checkpoint-reply of epoch 9, not 1',
  ],
  [
    'an answer to a heartbeat that was never sent',
    heartbeat(1e9),
    'the peer answers a heartbeat of 1000000000 ms: it is 1000',
  ],
  ['more laid down than was sent', heartbeat(990, 5), 'the peer laid down 5 bytes, 0 were sent'],
] as const) {
  test(`${what} ends the connection, and the arbiter is asked`, async (t) => {
    const primary = protectedPrimary();
    primary.on({ kind: 'command', command: { name: 'checkpoint' } });
    const effects = primary.effects({ kind: 'frame', frame: { role: 'secondary', term: term(3), message } });
    t.match(
      effects.find((effect) => effect.kind === 'tell'),
      { notice: { kind: 'peer-lost', why } },
    );
    t.ok(effects.some((effect) => effect.kind === 'ask-arbiter'));
  });
}

test('a frame of another term is refused', async (t) => {
  const primary = protectedPrimary();
  t.ok(primary.hears(heartbeat(990), term(2)).includes('close'));
});

test('a secondary that falls silent is lost; P goes on once the arbiter said yes and the term is on disk', async (t) => {
  const primary = protectedPrimary();
  t.same(primary.rings('heartbeat', settings.heartbeatMs), ['send heartbeat']);
  primary.now += settings.detectMs - 2 * settings.heartbeatMs;
  primary.on({ kind: 'timer', timer: 'heartbeat', turned: true });
  t.same(primary.rings('heartbeat', settings.heartbeatMs), ['permit 0', 'close', 'ask-arbiter 4']);
  t.same(primary.on({ kind: 'arbiter', term: term(4), answer: 'unknown' }), []);
  t.same(primary.rings('ask', settings.askAgainMs), ['ask-arbiter 4']);
  t.same(primary.on({ kind: 'arbiter', term: term(4), answer: 'yes' }), ['write-term 4']);
  t.equal(primary.core.phase, 'waiting');
  t.same(primary.on({ kind: 'term-failed', term: term(4) }), []);
  t.same(primary.rings('ask', settings.askAgainMs), ['write-term 4']);
  t.same(primary.on({ kind: 'term-written', term: term(4) }), ['open', 'detach']);
  t.equal(primary.core.phase, 'unprotected');
  t.equal(primary.core.term, 4);
});

/** Beats, and is answered so long after each time, until something else is done than that; that, and after how many ms. */
function answeredAfter(primary: ReturnType<typeof protectedPrimary>, ms: number, turned = true) {
  const begun = primary.now;
  for (let beats = 0; beats < 30; beats++) {
    const done = primary.rings('heartbeat', settings.heartbeatMs, turned);
    if (done.some((word) => word !== 'send heartbeat')) return { done, after: primary.now - begun };
    if (primary.now - ms >= begun) primary.hears(heartbeat(primary.now - ms));
    else primary.hears(heartbeat(Number.NaN));
  }
  return { done: [], after: primary.now - begun };
}

test('a secondary that is heard all the time, and answers too late for anything to leave, is lost', async (t) => {
  const { leaseMs, detectMs, heartbeatMs } = settings;
  const near = answeredAfter(protectedPrimary(), leaseMs - heartbeatMs);
  t.same(near.done, [], 'over a link that is merely slow output leaves');

  const far = answeredAfter(protectedPrimary(), leaseMs + heartbeatMs);
  t.same(far.done, ['permit 0', 'close', 'ask-arbiter 4']);
  t.ok(far.after >= detectMs && far.after <= detectMs + leaseMs + heartbeatMs, `after ${far.after} ms`);
});

test('who does not vouch for itself misses no consent', async (t) => {
  t.same(answeredAfter(protectedPrimary(), 10 * settings.detectMs, false).done, []);
});

test('a no fences it for good', async (t) => {
  const primary = protectedPrimary();
  primary.on({ kind: 'closed', by: 'network' });
  t.same(primary.on({ kind: 'arbiter', term: term(4), answer: 'no' }), ['shut', 'pause-guest', 'detach']);
  t.same(primary.on({ kind: 'arbiter', term: term(4), answer: 'yes' }), []);
  t.same(primary.on({ kind: 'command', command: { name: 'protect' } }), [
    'refuse protect: this machine was fenced: its pair went on elsewhere',
  ]);
});

test('a VMM whose threads hang vouches for nothing', async (t) => {
  const primary = protectedPrimary();
  t.same(primary.rings('heartbeat', settings.heartbeatMs, false), []);
});

test('before READY a lost standby changes nothing: output goes out, no arbiter is asked', async (t) => {
  const primary = newPrimary();
  primary.on({ kind: 'command', command: { name: 'protect' } });
  primary.on({ kind: 'connected' });
  primary.hears({ kind: 'welcome', shape });
  t.same(primary.on({ kind: 'closed', by: 'network' }), ['permit -1', 'close', 'open', 'detach']);
  t.same(primary.on({ kind: 'command', command: { name: 'protect' } }), ['connect']);
});

test('a standby that cannot take over says so, and nothing was touched', async (t) => {
  const primary = newPrimary();
  primary.on({ kind: 'command', command: { name: 'protect' } });
  primary.on({ kind: 'connected' });
  t.same(primary.hears({ kind: 'refusal', reason: 'its disk is smaller' }), ['permit -1', 'close']);
  t.equal(primary.core.phase, 'unprotected');
});

test('commands are refused with what QEMU says, or a sentence', async (t) => {
  const alone = newPrimary();
  const refuse = (name: 'lost-heartbeat' | 'failover' | 'protect' | 'unprotect' | 'checkpoint') =>
    ({ kind: 'command', command: { name, sure: false } }) as const;
  t.same(alone.on(refuse('lost-heartbeat')), ["refuse lost-heartbeat: The feature 'colo' is not enabled"]);
  t.same(alone.on(refuse('checkpoint')), ['refuse checkpoint: this machine is not protected']);
  t.same(alone.on(refuse('unprotect')), ['refuse unprotect: this machine is not protected']);
  const primary = protectedPrimary();
  t.same(primary.on(refuse('protect')), ['refuse protect: this machine is protected already']);
  t.match(primary.on(refuse('failover'))[0], /^refuse failover: the standby is well/);
  t.ok(primary.on(refuse('lost-heartbeat')).includes('ask-arbiter 4'));
  primary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.same(primary.on(refuse('lost-heartbeat')), ['refuse lost-heartbeat: COLO failover is already activated']);
});

test('an operator who is sure is the arbiter', async (t) => {
  const primary = protectedPrimary();
  primary.on({ kind: 'closed', by: 'network' });
  t.same(primary.on({ kind: 'command', command: { name: 'failover', sure: true } }), ['write-term 4']);
});

test('protection ends in order: S gives up its right, then output is free', async (t) => {
  const primary = protectedPrimary();
  t.same(primary.on({ kind: 'command', command: { name: 'unprotect' } }), ['send end']);
  t.same(primary.hears({ kind: 'ended' }), ['permit 0', 'close', 'open', 'detach']);
  t.equal(primary.core.term, 3);
});

test('who ended protection, and why, is what it says then: QEMU hears of an error, or that somebody wanted it', async (t) => {
  const notices = (effects: readonly { readonly kind: string }[]) => effects.filter(({ kind }) => kind === 'tell');
  const frame = (message: Message) =>
    ({ kind: 'frame', frame: { role: 'secondary', term: term(3), message } }) as const;
  for (const [end, reason, why] of [
    [{ reason: 'unprotect' }, 'request', 'an operator ended protection on the standby (colo-vmm unprotect)'],
    [{ reason: 'stopped' }, 'request', 'the standby was stopped'],
    [{ reason: 'error', why: 'its disk failed: EIO' }, 'error', 'the standby ended protection: its disk failed: EIO'],
  ] as const) {
    const effects = protectedPrimary().effects(frame({ kind: 'end', exitCode: 0, ...end }));
    t.match(notices(effects), [
      { notice: { kind: 'colo-exit', mode: 'primary', reason, why } },
      { notice: { kind: 'not-protected', why } },
    ]);
  }
  const asked = protectedPrimary();
  asked.on({ kind: 'command', command: { name: 'unprotect' } });
  t.match(notices(asked.effects(frame({ kind: 'ended' }))), [
    { notice: { kind: 'colo-exit', reason: 'request' } },
    { notice: { kind: 'not-protected', why: 'an operator ended protection here (colo-vmm unprotect)' } },
  ]);
  const hung = protectedPrimary();
  hung.on({ kind: 'disk-log-full', isFull: true });
  const full = "the standby's disk log is full, and its disk took nothing for";
  const [end] = hung.effects({ kind: 'timer', timer: 'disk-log', turned: true }).filter(({ kind }) => kind === 'send');
  t.match(end, { message: { kind: 'end', reason: 'error', why: new RegExp(`^${full}`) } });
  t.match(notices(hung.effects(frame({ kind: 'ended' }))), [
    { notice: { kind: 'colo-exit', reason: 'error' } },
    { notice: { kind: 'not-protected', why: new RegExp(`^the standby was let go: ${full}`) } },
  ]);
});

test('whoever was protected looks for a standby by itself, until an operator of either side ends protection', async (t) => {
  const insists = (primary: ReturnType<typeof newPrimary>): boolean => primary.core.insists;
  const unprotect = { kind: 'command', command: { name: 'unprotect' } } as const;
  const asked = newPrimary();
  asked.on({ kind: 'command', command: { name: 'protect' } });
  asked.on({ kind: 'connect-failed', reason: 'ECONNREFUSED' });
  t.equal(insists(asked), false, 'it never was');

  for (const reason of ['stopped', 'error'] as const) {
    const left = protectedPrimary();
    left.hears({ kind: 'end', reason, exitCode: 0 });
    t.equal(insists(left), true, reason);
  }
  const lost = protectedPrimary();
  lost.on({ kind: 'closed', by: 'peer' });
  lost.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  lost.on({ kind: 'term-written', term: term(4) });
  t.equal(insists(lost), true);
  t.same(lost.on(unprotect), []);
  t.equal(insists(lost), false, 'it is told to look no more');
  t.match(lost.on(unprotect), ['refuse unprotect: this machine is not protected']);

  const there = protectedPrimary();
  there.hears({ kind: 'end', reason: 'unprotect', exitCode: 0 });
  t.equal(insists(there), false);
  there.on({ kind: 'command', command: { name: 'protect' } });
  t.equal(insists(there), true, 'somebody wants it again');
  const here = protectedPrimary();
  here.on(unprotect);
  t.same(here.on(unprotect), [], 'asked twice, it is ended once');
  here.hears({ kind: 'ended' });
  t.equal(insists(here), false);
  const fenced = protectedPrimary();
  fenced.on({ kind: 'disk-failed', error: 'EIO' });
  fenced.on({ kind: 'closed', by: 'peer' });
  t.equal(insists(fenced), false);
});

test('another standby is to protect it: that it looks for one no more is nothing that an operator said', async (t) => {
  const primary = protectedPrimary();
  primary.hears({ kind: 'end', reason: 'stopped', exitCode: 0 });
  t.same(primary.effects({ kind: 'command', command: { name: 'unprotect', stops: true } }), []);
  t.equal(primary.core.insists, false);
});

test('a guest that powers off ends both, once its last answer is out', async (t) => {
  const primary = protectedPrimary();
  t.same(primary.on({ kind: 'guest-ended', exitCode: 0 }), ['send checkpoint-request 1', 'capture 1']);
  primary.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  primary.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  primary.hears({ kind: 'vmstate-received', epoch: e(1) });
  t.same(primary.on({ kind: 'output-left', epoch: e(1) }), ['send output-left 1', 'send end']);
  t.same(primary.hears({ kind: 'ended' }), ['permit 1', 'close', 'exit 0']);
});

test('a standby that loads, and never says that it gave up its right, is not waited for for ever', async (t) => {
  const primary = protectedPrimary();
  primary.on({ kind: 'guest-ended', exitCode: 0 });
  primary.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  primary.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  primary.hears({ kind: 'vmstate-received', epoch: e(1) });
  primary.on({ kind: 'output-left', epoch: e(1) });
  const message = { kind: 'vmstate-loaded', epoch: e(1) } as const;
  const frame = { role: 'secondary', term: primary.core.term, message } as const;
  const timers = primary.effects({ kind: 'frame', frame }).filter((effect) => effect.kind === 'timer');
  t.notOk(timers.some(({ timer }) => timer === 'step'));
});

test('a guest whose last checkpoint takes too long ends both all the same; what it said leaves once S gave up its right', async (t) => {
  const overdue = { kind: 'end-overdue' } as const;
  const ends = (primary: ScriptedPrimary) => {
    const effects = primary.effects(overdue);
    t.match(
      effects.flatMap((effect) => (effect.kind === 'send' ? [effect.message] : [])),
      [{ kind: 'end', reason: 'power-off', exitCode: 3, why: 'its last checkpoint took too long' }],
    );
    t.match(
      effects.flatMap((effect) => (effect.kind === 'tell' ? [effect.notice] : [])),
      [{ kind: 'ended-behind', through: 0 }],
    );
  };
  const ended = () => {
    const primary = protectedPrimary();
    primary.on({ kind: 'guest-ended', exitCode: 3 });
    return primary;
  };
  const captured = { kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 } as const;

  const capturing = ended();
  ends(capturing);
  t.same(capturing.on(captured), [], 'nobody is there to have it');
  t.same(capturing.hears({ kind: 'ended' }), ['permit 0', 'close', 'open', 'exit 3']);

  const transmitted = ended();
  transmitted.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  transmitted.on(captured);
  ends(transmitted);
  t.same(transmitted.hears({ kind: 'vmstate-received', epoch: e(1) }), ['permit 1'], 'and so it is in time');
  t.same(transmitted.on(overdue), [], 'it is told once');
  t.same(transmitted.hears({ kind: 'ended' }), ['permit 1', 'close', 'open', 'exit 3']);

  const unheard = ended();
  ends(unheard);
  t.same(
    unheard.on({ kind: 'closed', by: 'network' }),
    ['permit 0', 'close', 'exit 3'],
    'S may go on: nothing leaves that it does not have',
  );
});

test('only an end that S has nothing of is told as such, and one without S waits for nobody', async (t) => {
  const overdue = { kind: 'end-overdue' } as const;
  t.same(protectedPrimary().on(overdue), [], 'the guest runs');

  const received = protectedPrimary();
  received.on({ kind: 'guest-ended', exitCode: 0 });
  received.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  received.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  received.hears({ kind: 'vmstate-received', epoch: e(1) });
  t.strictSame(
    received.effects(overdue).flatMap((effect) => (effect.kind === 'send' ? [effect.message] : [])),
    [{ kind: 'end', reason: 'power-off', exitCode: 0 }],
    'output waits for its TAP, and S has all',
  );

  const seeding = newPrimary();
  seed(seeding);
  seeding.on({ kind: 'guest-ended', exitCode: 0 });
  t.same(seeding.on(overdue), ['permit -1', 'close', 'open', 'detach', 'exit 0'], 'S is not counted on');

  const handing = handingOver().primary;
  handing.on({ kind: 'guest-ended', exitCode: 0 });
  t.same(handing.on(overdue), ['send end']);
  t.same(handing.hears({ kind: 'handover-ready', epoch: e(1) }), [], 'said before it read that');
  t.same(handing.hears({ kind: 'ended' }), ['permit 1', 'close', 'open', 'exit 0']);

  const waiting = protectedPrimary();
  waiting.on({ kind: 'closed', by: 'network' });
  waiting.on({ kind: 'guest-ended', exitCode: 0 });
  t.same(waiting.on(overdue), [], 'nobody is there to be told');
});

const givesUp = ['permit 0', 'shut', 'pause-guest', 'send take-over', 'give-away 4'];

test('a disk that fails has the standby take over: silent first, it says so, and claims nothing any more', async (t) => {
  for (const ends of ['closed', 'overdue', 'silent'] as const) {
    const primary = protectedPrimary();
    t.same(primary.on({ kind: 'disk-failed', error: 'EIO' }), givesUp);
    t.equal(primary.core.phase, 'giving-up');
    t.same(primary.on({ kind: 'disk-failed', error: 'EIO' }), []);
    const over = ['permit 0', 'close', 'detach'];
    if (ends === 'closed') t.same(primary.on({ kind: 'closed', by: 'peer' }), over);
    else if (ends === 'overdue') t.same(primary.rings('step', settings.stepMs), over);
    else {
      for (let ms = settings.heartbeatMs; ms < settings.detectMs; ms += settings.heartbeatMs) {
        t.same(primary.rings('heartbeat', settings.heartbeatMs), ['send heartbeat']);
      }
      t.same(primary.rings('heartbeat', settings.heartbeatMs), over);
    }
    t.equal(primary.core.phase, 'fenced');
  }
});

test('a standby that answers a heartbeat before it hears that the guest is its own gives no consent again', async (t) => {
  const givenUp = protectedPrimary();
  givenUp.hears(heartbeat(900));
  t.ok(Number.isFinite(givenUp.core.consentUntil));
  givenUp.on({ kind: 'disk-failed', error: 'EIO' });
  const handedOver = protectedPrimary();
  handedOver.hears(heartbeat(900));
  handedOver.on({ kind: 'command', command: { name: 'switchover' } });
  handedOver.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  handedOver.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  handedOver.hears({ kind: 'vmstate-received', epoch: e(1) });
  handedOver.hears({ kind: 'vmstate-loaded', epoch: e(1) });
  handedOver.hears({ kind: 'handover-ready', epoch: e(1) });
  for (const primary of [givenUp, handedOver]) {
    t.match(primary.core.phase, /giving-up|handed-over/);
    t.same(primary.hears(heartbeat(950)), []);
    t.equal(primary.core.consentUntil, Number.NEGATIVE_INFINITY);
  }
});

test('of a disk that breaks everybody hears at once: the guest is stopped, and why', async (t) => {
  const primary = protectedPrimary();
  const told = primary.effects({ kind: 'disk-failed', error: 'EIO' }).filter(({ kind }) => kind === 'tell');
  const why = 'its disk failed: EIO';
  t.match(told, [
    { notice: { kind: 'fenced', why } },
    { notice: { kind: 'colo-exit', mode: 'primary', reason: 'error', why } },
  ]);
  t.same(
    primary.effects({ kind: 'closed', by: 'peer' }).filter(({ kind }) => kind === 'tell'),
    [],
    'and once',
  );
});

test('what is broken is said in as many words as travel', async (t) => {
  const primary = protectedPrimary();
  const sent = primary
    .effects({ kind: 'disk-failed', error: '\u0001'.repeat(5000) })
    .flatMap((effect) => (effect.kind === 'send' ? [effect.message] : []));
  t.equal(sent.length, 1);
  for (const message of sent) {
    t.ok(encodeFrame({ role: 'primary', term: term(3), message }));
    t.match(message, { kind: 'take-over', why: /\u2026$/ });
  }
});

test('a disk that fails amid a checkpoint waits for no more of it', async (t) => {
  const primary = protectedPrimary();
  primary.on({ kind: 'command', command: { name: 'checkpoint' } });
  t.same(primary.on({ kind: 'disk-failed', error: 'EIO' }), givesUp);
  t.same(primary.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 }), []);
  primary.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  t.equal(primary.core.phase, 'giving-up');

  const later = protectedPrimary();
  later.on({ kind: 'command', command: { name: 'checkpoint' } });
  later.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  later.on({ kind: 'disk-failed', error: 'EIO' });
  later.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  later.hears({ kind: 'vmstate-received', epoch: e(1) });
  const message = { kind: 'vmstate-loaded', epoch: e(1) } as const;
  const frame = { role: 'secondary', term: later.core.term, message } as const;
  t.notOk(later.effects({ kind: 'frame', frame }).some((effect) => effect.kind === 'timer' && effect.timer === 'step'));
  later.rings('step', settings.stepMs);
  t.equal(later.core.phase, 'fenced');
});

test('a standby that gives up its right before it hears that the guest is its own is no reason to speak again', async (t) => {
  const primary = protectedPrimary();
  primary.on({ kind: 'disk-failed', error: 'EIO' });
  t.same(primary.hears({ kind: 'end', reason: 'error', exitCode: 0 }), []);
  primary.on({ kind: 'closed', by: 'peer' });
  t.equal(primary.core.phase, 'fenced');
});

test('a disk that fails while a pair is made has its standby take over as soon as that can; one that failed before does not', async (t) => {
  for (const fails of ['before', 'in an attempt that came to nothing', 'now'] as const) {
    const primary = newPrimary();
    const connects = (): void => {
      primary.on({ kind: 'command', command: { name: 'protect' } });
      primary.on({ kind: 'connected' });
      primary.hears({ kind: 'welcome', shape });
    };
    const failure = { kind: 'disk-failed', error: 'EIO' } as const;
    if (fails === 'before') t.same(primary.on(failure), []);
    connects();
    if (fails === 'in an attempt that came to nothing') {
      t.same(primary.on(failure), []);
      primary.on({ kind: 'closed', by: 'network' });
      connects();
    }
    if (fails === 'now') t.same(primary.on(failure), []);
    primary.on({ kind: 'disks-in-step' });
    primary.on({ kind: 'passed', epoch: e(0), worthAnother: false });
    primary.on({ kind: 'captured', epoch: e(0), stateBytes: 8, stoppedMs: 1 });
    const effects = primary.hears({ kind: 'checkpoint-ready', epoch: e(0) });
    t.equal(effects[0], 'send protected');
    t.equal(primary.core.phase, fails === 'now' ? 'giving-up' : 'protected', fails);
    if (fails === 'now') t.same(effects.slice(-givesUp.length), givesUp);
  }
});

test('a parameter change is a checkpoint, and arms the new delay', async (t) => {
  const primary = protectedPrimary();
  t.same(primary.on({ kind: 'command', command: { name: 'set-checkpoint-delay', delayMs: 500 } }), [
    'send checkpoint-request 1',
    'capture 1',
  ]);
});

test('a delay that is set before there is a pair is the one of its checkpoints', async (t) => {
  const primary = newPrimary();
  t.same(primary.on({ kind: 'command', command: { name: 'set-checkpoint-delay', delayMs: 700 } }), []);
  protect(primary);
  t.same(primary.rings('checkpoint', 699), []);
  t.same(primary.rings('checkpoint', 1), ['send checkpoint-request 1', 'capture 1']);
});

test('a standby that refuses is heard, though it has not taken the term on', async (t) => {
  const primary = newPrimary();
  primary.on({ kind: 'command', command: { name: 'protect' } });
  primary.on({ kind: 'connected' });
  const refusal = { kind: 'refusal', reason: 'its disk is smaller' } as const;
  const frame = { role: 'secondary', term: term(0), message: refusal } as const;
  const told = primary.effects({ kind: 'frame', frame }).filter((effect) => effect.kind === 'tell');
  t.match(told, [{ notice: { kind: 'not-protected', why: /cannot take over this machine: its disk is smaller/ } }]);
  const paired = newPrimary();
  paired.on({ kind: 'command', command: { name: 'protect' } });
  paired.on({ kind: 'connected' });
  paired.hears({ kind: 'welcome', shape });
  const late = paired.effects({ kind: 'frame', frame }).filter((effect) => effect.kind === 'tell');
  t.match(late, [{ notice: { why: /of term 0 in term 3/ } }], 'whoever has is of that term');
});

/** One whose last checkpoint is loaded, and which waits for S to be ready. */
function handingOver() {
  const primary = protectedPrimary();
  const first = primary.on({ kind: 'command', command: { name: 'switchover' } });
  primary.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  primary.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  primary.hears({ kind: 'vmstate-received', epoch: e(1) });
  return { primary, first, last: primary.hears({ kind: 'vmstate-loaded', epoch: e(1) }) };
}

test('a switchover: a last checkpoint, S is ready, and P is silent for good, its guest paused, before it says so', async (t) => {
  const { primary, first, last } = handingOver();
  t.same(first, ['send checkpoint-request 1', 'capture 1']);
  t.same(last, ['send handover 1']);
  t.same(primary.on({ kind: 'output-waits' }), [], 'no checkpoint follows');
  const silent = primary.hears({ kind: 'handover-ready', epoch: e(1) });
  t.same(silent, ['permit 1', 'shut', 'pause-guest'], 'its guest may still get packets');
  t.same(primary.on({ kind: 'guest-paused' }), ['send handover-done 1']);
  t.same(primary.on({ kind: 'guest-paused' }), [], 'once');
  t.same(primary.on({ kind: 'closed', by: 'peer' }), ['permit 1', 'close', 'step-down']);
  t.equal(primary.core.phase, 'ended');
});

test('a standby whose guest has ended by itself is offered the guest again, after a checkpoint', async (t) => {
  const { primary } = handingOver();
  const wanted = primary.hears({ kind: 'checkpoint-wanted', why: wantedFor.guest });
  t.same(wanted, ['send checkpoint-request 2', 'capture 2']);
  t.equal(primary.core.phase, 'protected');
  primary.hears({ kind: 'checkpoint-reply', epoch: e(2) });
  primary.on({ kind: 'captured', epoch: e(2), stateBytes: 8, stoppedMs: 1 });
  primary.hears({ kind: 'vmstate-received', epoch: e(2) });
  t.same(primary.hears({ kind: 'vmstate-loaded', epoch: e(2) }), ['send handover 2']);
  const other = handingOver().primary;
  t.same(other.hears({ kind: 'checkpoint-wanted', why: wantedFor.diskLog }), [], 'it may have been on its way');
  t.equal(other.core.phase, 'handing-over');
});

test('a primary that handed its guest over claims nothing, however its standby is lost', async (t) => {
  const { primary } = handingOver();
  primary.hears({ kind: 'handover-ready', epoch: e(1) });
  t.ok(primary.rings('step', settings.stepMs).includes('step-down'));
});

test('a guest that cannot be paused, or not in time, is handed over all the same: nothing that it says leaves', async (t) => {
  for (const [what, comes] of [
    ['it fails', (primary) => primary.on({ kind: 'closed', by: 'network' })],
    ['it takes too long', (primary) => primary.rings('step', settings.stepMs)],
  ] as const satisfies readonly [string, (primary: ReturnType<typeof protectedPrimary>) => string[]][]) {
    const { primary } = handingOver();
    primary.hears({ kind: 'handover-ready', epoch: e(1) });
    t.same(comes(primary), ['send handover-done 1', 'permit 1', 'close', 'step-down'], what);
    t.same(primary.on({ kind: 'guest-paused' }), [], 'and that is all');
  }
});

test('a guest that is paused for another reason is handed to nobody', async (t) => {
  const broken = protectedPrimary();
  broken.on({ kind: 'disk-failed', error: 'EIO' });
  t.same(broken.on({ kind: 'guest-paused' }), []);
});

test('until S is ready, a switchover may still end in a failover of either side', async (t) => {
  const { primary } = handingOver();
  t.ok(primary.on({ kind: 'closed', by: 'peer' }).includes('ask-arbiter 4'));
  primary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.same(primary.on({ kind: 'term-written', term: term(4) }), ['open', 'detach']);
});

test('a failover is refused while the roles change, or protection ends, and S answers: unless the operator is sure', async (t) => {
  const failover = (sure: boolean) => ({ kind: 'command', command: { name: 'failover', sure } }) as const;
  const ending = (): ReturnType<typeof protectedPrimary> => {
    const primary = protectedPrimary();
    primary.on({ kind: 'command', command: { name: 'unprotect' } });
    return primary;
  };
  for (const [phase, made, why] of [
    ['handing-over', () => handingOver().primary, 'a switchover is under way'],
    ['ending', ending, 'the standby is well: nothing has failed. To end protection: unprotect'],
  ] as const) {
    const primary = made();
    t.same(primary.on(failover(false)), [`refuse failover: ${why}`]);
    t.equal(primary.core.phase, phase, 'and that goes on');
    t.ok(made().on(failover(true)).includes('write-term 4'));
    primary.on({ kind: 'closed', by: 'network' });
    t.same(primary.on(failover(false)), ['ask-arbiter 4'], 'of a standby that is lost it may be said');
  }
});

test('a switchover is refused where there is nobody to take over, and while one is under way', async (t) => {
  const order = { kind: 'command', command: { name: 'switchover' } } as const;
  t.same(newPrimary().on(order), ['refuse switchover: this machine is not protected']);
  t.same(handingOver().primary.on(order), ['refuse switchover: a switchover is under way']);
  const primary = protectedPrimary();
  primary.on({ kind: 'guest-ended', exitCode: 0 });
  t.same(primary.on(order), ['refuse switchover: the guest has ended']);
});

test('a switchover can wait for live passes: what is left for the stop is short', async (t) => {
  const primary = protectedPrimary({ livePasses: 1 });
  t.same(primary.on({ kind: 'command', command: { name: 'switchover' } }), ['live-pass 1']);
});

test('a standby that is ready for another checkpoint than the last one is lost', async (t) => {
  const { primary } = handingOver();
  t.ok(primary.hears({ kind: 'handover-ready', epoch: e(0) }).includes('ask-arbiter 4'));
});

import { test } from 'tap';
import type { Effect, Notice, SecondaryEvent } from '../../../../../src/colo/core/events.ts';
import { type Message, protocolVersion } from '../../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../../src/colo/protocol/numbers.ts';
import { shape } from '../../protocol/messages.ts';
import { gives, hello, newSecondary, protectingSecondary, readySecondary, settings } from '../scripted.ts';

const e = epoch;
const heartbeat = { kind: 'heartbeat', clock: 77, echo: Number.NaN, laidBytes: 0 } as const;
const takeover = ['discard', 'announce', 'revive', 'open', 'send-kept', 'replay-input', 'resume-guest'];
const kinds = (effects: readonly string[]) => effects.map((effect) => effect.split(' ')[0] ?? '');

test('a pair is made: welcome, first checkpoint, READY', async (t) => {
  const secondary = newSecondary();
  t.same(secondary.hears(hello), ['attach', 'send welcome', 'send heartbeat']);
  t.same(gives(secondary, 0), ['stage', 'load 0']);
  t.same(secondary.on({ kind: 'loaded', epoch: e(0) }), ['commit-disk 0']);
  t.same(secondary.on({ kind: 'disk-committed', epoch: e(0) }), ['send checkpoint-ready 0']);
  t.same(secondary.hears({ kind: 'protected' }), []);
  t.equal(secondary.core.phase, 'protecting');
});

test('a primary that was slow while the pair was made is not lost as soon as this side could take over', async (t) => {
  const secondary = newSecondary();
  secondary.hears(hello);
  gives(secondary, 0);
  secondary.on({ kind: 'loaded', epoch: e(0) });
  const { detectMs, heartbeatMs } = settings;
  for (const end = secondary.now + 3 * detectMs; secondary.now < end; )
    t.same(secondary.rings('heartbeat', heartbeatMs), ['send heartbeat']);
  secondary.on({ kind: 'disk-committed', epoch: e(0) });
  for (const end = secondary.now + detectMs - heartbeatMs; secondary.now < end; )
    t.same(secondary.rings('heartbeat', heartbeatMs), ['send heartbeat']);
  t.ok(secondary.rings('heartbeat', heartbeatMs).includes('close'), 'but then it is');
});

test('a primary whose disks take long to be made durable before they are copied is not silent', async (t) => {
  const secondary = newSecondary();
  const steps = (event: SecondaryEvent): number[] =>
    secondary
      .effects(event)
      .flatMap((effect) => (effect.kind === 'timer' && effect.timer === 'step' ? [effect.at] : []));
  const { stepMs } = settings;
  secondary.hears(hello);
  t.same(steps({ kind: 'peer-prepares', isOver: false }), [Number.POSITIVE_INFINITY]);
  t.same(steps({ kind: 'copy-moved' }), [], 'whatever else comes meanwhile');
  t.same(steps({ kind: 'disk-laid', bytes: 512 }), []);
  secondary.now += 10 * stepMs;
  t.same(steps({ kind: 'peer-prepares', isOver: true }), [secondary.now + stepMs]);
  secondary.now += 10;
  t.same(steps({ kind: 'copy-moved' }), [secondary.now + stepMs]);
  t.same(secondary.rings('step', stepMs), ['send refusal', 'close', 'discard'], 'from then on it is its turn');
});

test('what is laid down is told before the next heartbeat where that is much, or rare', async (t) => {
  const secondary = protectingSecondary();
  const { diskLogBytes, stepMs, heartbeatMs } = settings;
  const laid = (bytes: number) =>
    secondary
      .effects({ kind: 'disk-laid', bytes })
      .flatMap((effect) => (effect.kind === 'send' ? [effect.message] : []));
  const told = (laidBytes: number) => [{ kind: 'heartbeat', echo: Number.NaN, laidBytes }];
  secondary.rings('heartbeat', heartbeatMs);
  t.same(laid(diskLogBytes / 8 - 1), []);
  t.match(laid(diskLogBytes / 8), told(diskLogBytes / 8));
  t.same(laid(diskLogBytes / 8 + 512), [], 'counted from what was told');
  secondary.now += stepMs / 4;
  t.match(
    laid(diskLogBytes / 8 + 1024),
    told(diskLogBytes / 8 + 1024),
    'the primary hears that the disk is not one that hangs',
  );
  secondary.hears(heartbeat);
  secondary.rings('heartbeat', heartbeatMs, false);
  t.same(laid(diskLogBytes), [], 'but not from a side that a thread of hangs');
  secondary.rings('heartbeat', heartbeatMs);
  secondary.on({ kind: 'command', command: { name: 'unprotect' } });
  t.equal(secondary.core.phase, 'leaving');
  t.same(laid(2 * diskLogBytes), []);
});

test("the primary's term is on disk before it is used", async (t) => {
  const secondary = newSecondary();
  t.same(secondary.hears(hello, term(8)), ['write-term 8']);
  t.same(secondary.on({ kind: 'term-written', term: term(8) }), ['attach', 'send welcome', 'send heartbeat']);
});

for (const [what, changed, theirTerm, reason] of [
  [
    'another version',
    { kind: 'hello', version: 1 },
    term(3),
    new RegExp(`version ${protocolVersion} of the protocol, not 1`),
  ],
  ['another pair', { ...hello, pair: 'mail' }, term(3), /stands by for the pair "web", not "mail"/],
  ['a term that is over', hello, term(2), /in term 3 already/],
  ['another idea of silence', { ...hello, detectMs: 1000 }, term(3), /--detection 200, the primary with 1000/],
  [
    'another arbiter',
    { ...hello, arbiter: 'etcd (/x/)' },
    term(3),
    /its arbiter is manual, the primary's etcd \(\/x\/\)/,
  ],
  ['a larger machine', { ...hello, shape: { ...shape, memoryBytes: 2 ** 40 } }, term(3), /memory/],
] as const) {
  test(`refuses ${what} before anything is touched`, async (t) => {
    const secondary = newSecondary();
    const [refusal, close] = secondary.effects({
      kind: 'frame',
      frame: { role: 'primary', term: theirTerm, message: changed },
    });
    t.match(refusal, { kind: 'send', message: { kind: 'refusal', reason } });
    t.equal(close?.kind, 'close');
    t.equal(secondary.core.phase, 'listening');
  });
}

test('a checkpoint goes as in A.2', async (t) => {
  const secondary = protectingSecondary();
  t.same(secondary.hears({ kind: 'checkpoint-request', epoch: e(1) }), ['send checkpoint-reply 1']);
  t.same(gives(secondary, 1), ['stage', 'send vmstate-received 1', 'load 1']);
  t.same(secondary.on({ kind: 'loaded', epoch: e(1) }), ['commit-disk 1']);
  t.same(secondary.on({ kind: 'disk-committed', epoch: e(1) }), ['send vmstate-loaded 1']);
});

test('RECEIVED waits for every stream, whichever is last', async (t) => {
  const parts = [
    { kind: 'pages-end', epoch: e(1), items: 0 },
    { kind: 'disk-end', epoch: e(1), items: 0 },
    { kind: 'packets-end', epoch: e(1), items: 0 },
    { kind: 'vmstate-size', epoch: e(1), value: 0 },
  ] as const;
  for (const last of parts) {
    const secondary = protectingSecondary();
    secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
    secondary.hears({ kind: 'vmstate-send', epoch: e(1), comparing: 0 });
    for (const part of parts) if (part !== last) t.notOk(kinds(secondary.hears(part)).includes('load'));
    t.ok(kinds(secondary.hears(last)).includes('load'), last.kind);
  }
});

test("P's heartbeat is answered with P's own clock, unless a thread hangs", async (t) => {
  const secondary = protectingSecondary();
  const [answer] = secondary.effects({ kind: 'frame', frame: { role: 'primary', term: term(3), message: heartbeat } });
  t.match(answer, { kind: 'send', message: { kind: 'heartbeat', echo: 77 } });
  secondary.rings('heartbeat', settings.heartbeatMs, false);
  t.same(secondary.hears(heartbeat), []);
});

test('what came to its TAPs since P was lost is kept, unless the answer was awaited for so long that nobody waits for it', async (t) => {
  for (const [waitMs, isKept] of [
    [29_000, true],
    [31_000, false],
  ] as const) {
    const secondary = protectingSecondary();
    t.ok(secondary.on({ kind: 'closed', by: 'peer' }).includes('empty-taps'), 'what came before');
    secondary.now += waitMs;
    secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
    const effects = kinds(secondary.on({ kind: 'term-written', term: term(4) }));
    t.same(effects, isKept ? takeover : ['empty-taps', ...takeover]);
  }
});

test('takes over when P is silent: with consent run out, the yes, and the term on disk', async (t) => {
  const secondary = protectingSecondary();
  secondary.hears(heartbeat);
  secondary.now += settings.leaseMs / 2;
  t.same(secondary.on({ kind: 'closed', by: 'network' }), ['close', 'empty-taps', 'ask-arbiter 4']);
  t.same(secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' }), ['write-term 4']);
  t.same(secondary.on({ kind: 'term-written', term: term(4) }), [], 'P may still release');
  t.same(kinds(secondary.rings('consent', settings.leaseMs)), takeover);
  t.equal(secondary.core.phase, 'going-live');
  t.same(secondary.on({ kind: 'guest-runs' }), []);
  t.equal(secondary.core.phase, 'live');
  t.equal(secondary.core.term, 4);
});

test("a close by P's kernel proves that P is gone; a broken network does not", async (t) => {
  const secondary = protectingSecondary();
  secondary.hears(heartbeat);
  secondary.on({ kind: 'closed', by: 'peer' });
  secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.same(kinds(secondary.on({ kind: 'term-written', term: term(4) })), takeover);
});

test('does not take over on a no, nor on silence of the arbiter', async (t) => {
  const secondary = protectingSecondary();
  secondary.on({ kind: 'closed', by: 'peer' });
  t.same(secondary.on({ kind: 'arbiter', term: term(4), answer: 'unknown' }), []);
  t.same(secondary.rings('ask', settings.askAgainMs), ['ask-arbiter 4']);
  t.same(secondary.on({ kind: 'arbiter', term: term(4), answer: 'no' }), ['shut', 'discard']);
  t.equal(secondary.core.phase, 'refused');
});

test('a primary in a later term that calls is a no to who asks whether it may go on, whatever the arbiter says afterwards', async (t) => {
  const secondary = protectingSecondary();
  secondary.on({ kind: 'closed', by: 'network' });
  t.same(secondary.on({ kind: 'primary-called', pair: 'web', term: term(4) }), ['shut', 'discard']);
  t.equal(secondary.core.phase, 'refused');
  t.notOk(secondary.core.wantsTerm(term(4)), 'who is about to ask for the term does not');
  t.same(secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' }), []);
  t.same(secondary.on({ kind: 'primary-called', pair: 'web', term: term(5) }), []);
});

test("neither a primary of the same term nor another pair's says that somebody goes on", async (t) => {
  const secondary = protectingSecondary();
  secondary.on({ kind: 'closed', by: 'network' });
  t.same(secondary.on({ kind: 'primary-called', pair: 'web', term: term(3) }), []);
  t.same(secondary.on({ kind: 'primary-called', pair: 'mail', term: term(4) }), []);
  t.equal(secondary.core.phase, 'claiming');
});

test('a yes that is there already stands, and before and after a claim a call means nothing', async (t) => {
  const secondary = protectingSecondary();
  t.same(secondary.on({ kind: 'primary-called', pair: 'web', term: term(4) }), []);
  t.equal(secondary.core.phase, 'protecting');
  secondary.on({ kind: 'closed', by: 'peer' });
  secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.same(secondary.on({ kind: 'primary-called', pair: 'web', term: term(4) }), []);
  t.same(kinds(secondary.on({ kind: 'term-written', term: term(4) })), takeover);
  t.same(secondary.on({ kind: 'primary-called', pair: 'web', term: term(9) }), []);
});

test('a load that has begun is finished first, then it takes over from what it said it received', async (t) => {
  const secondary = protectingSecondary();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  gives(secondary, 1);
  secondary.on({ kind: 'closed', by: 'peer' });
  secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.same(secondary.on({ kind: 'term-written', term: term(4) }), []);
  t.same(secondary.on({ kind: 'loaded', epoch: e(1) }), ['commit-disk 1']);
  const effects = secondary.on({ kind: 'disk-committed', epoch: e(1) });
  t.same(kinds(effects), takeover);
  t.ok(effects.includes('revive 1'));
});

test('what was staged and not whole is thrown away', async (t) => {
  const secondary = protectingSecondary();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  secondary.hears({ kind: 'vmstate-send', epoch: e(1), comparing: 0 });
  secondary.hears({ kind: 'pages', epoch: e(1), data: new Uint8Array(8) });
  secondary.on({ kind: 'closed', by: 'peer' });
  secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.ok(secondary.on({ kind: 'term-written', term: term(4) }).includes('revive 0'));
});

test('does not take over for a primary that never counted on it', async (t) => {
  const secondary = newSecondary();
  secondary.hears(hello);
  gives(secondary, 0);
  secondary.on({ kind: 'loaded', epoch: e(0) });
  secondary.on({ kind: 'disk-committed', epoch: e(0) });
  t.same(secondary.on({ kind: 'closed', by: 'peer' }), ['close', 'discard']);
  t.equal(secondary.core.phase, 'listening');
});

for (const [what, message] of [
  ['a message out of order', { kind: 'vmstate-size', epoch: e(1), value: 1 }],
  ['pages of the future', { kind: 'pages', epoch: e(4), data: new Uint8Array(1) }],
  ['a write of the past', { kind: 'disk-write', epoch: e(0), disk: 0, offset: 0, data: new Uint8Array(1) }],
  ['an end that counts wrong', { kind: 'disk-end', epoch: e(1), items: 3 }],
  ['a second hello', hello],
] as const) {
  test(`${what} ends the connection`, async (t) => {
    const secondary = protectingSecondary();
    t.ok(secondary.hears(message).includes('close'));
    t.equal(secondary.core.phase, 'claiming');
  });
}

test('a disk that fails gives up the right to take over, and says so', async (t) => {
  const secondary = protectingSecondary();
  t.same(secondary.on({ kind: 'disk-failed', error: 'ENOSPC' }), ['send end']);
  const ended = { kind: 'ended' } as const;
  const effects = secondary.effects({ kind: 'frame', frame: { role: 'primary', term: term(3), message: ended } });
  t.match(
    effects.filter(({ kind }) => kind === 'close' || kind === 'tell'),
    [{ kind: 'close' }, { notice: { kind: 'failed', why: 'its disk failed: ENOSPC', wasCountedOn: true } }],
  );
  t.equal(secondary.core.phase, 'failed');
});

test('one that can never take over again says so once, and whether a primary counted on it', async (t) => {
  const told = (effects: readonly Effect[]) =>
    effects.flatMap((effect) => (effect.kind === 'tell' && effect.notice.kind === 'failed' ? [effect.notice] : []));
  const failed = { kind: 'load-failed', epoch: e(0), reason: 'a device refuses its state' } as const;
  const why = 'checkpoint 0 cannot be loaded: a device refuses its state';
  const protecting = protectingSecondary();
  t.same(told(protecting.effects(failed)), [], 'its primary hears of it first');
  const ended = { kind: 'frame', frame: { role: 'primary', term: term(3), message: { kind: 'ended' } } } as const;
  t.same(told(protecting.effects(ended)), [{ kind: 'failed', why, wasCountedOn: true }]);
  t.same(told(protecting.effects(failed)), []);
  t.same(told(newSecondary().effects(failed)), [{ kind: 'failed', why, wasCountedOn: false }]);
  const refused = protectingSecondary();
  refused.hears({ kind: 'refusal', reason: 'no more' });
  t.equal(refused.core.phase, 'listening');
  t.match(told(refused.effects(failed)), [{ wasCountedOn: false }], 'that was over');
});

test('a standby that cannot load a checkpoint gives up its right in order, and its primary hears why', async (t) => {
  const failed = { kind: 'load-failed', epoch: e(1), reason: 'a device refuses its state' } as const;
  const why = 'checkpoint 1 cannot be loaded: a device refuses its state';
  const sent = (effects: readonly Effect[]) =>
    effects.flatMap((effect) => (effect.kind === 'send' ? [effect.message] : []));
  const loading = () => {
    const secondary = protectingSecondary();
    secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
    gives(secondary, 1);
    return secondary;
  };
  t.strictSame(sent(loading().effects(failed)), [{ kind: 'end', reason: 'error', exitCode: 0, why }]);

  const secondary = loading();
  t.same(secondary.on(failed), ['send end'], 'the connection stays: P is to read that');
  t.same(secondary.on(failed), [], 'what comes after the first failure is no other one');
  t.same(secondary.hears({ kind: 'ended' }), ['close']);
  t.equal(secondary.core.phase, 'failed');

  const unheard = loading();
  unheard.on(failed);
  t.same(unheard.rings('step', 10_000), ['close'], 'P beats, and does not answer');
  t.equal(unheard.core.phase, 'failed', 'it claims nothing');

  const asked = loading();
  asked.on({ kind: 'command', command: { name: 'unprotect' } });
  t.same(asked.on(failed), [], 'it leaves already');
  asked.hears({ kind: 'ended' });
  t.equal(asked.core.phase, 'failed', 'and is nobody that another primary could count on');

  const first = newSecondary();
  first.hears(hello);
  gives(first, 0);
  t.strictSame(
    sent(first.effects({ ...failed, epoch: e(0) })).map(({ kind }) => kind),
    ['refusal', 'end'],
    'P says why it never protects',
  );

  // P may count on it by now: of a refusal it would ask an arbiter.
  const ready = readySecondary();
  t.equal(ready.core.phase, 'ready');
  t.same(ready.on({ kind: 'disk-failed', error: 'ENOSPC' }), ['send end']);

  const lost = loading();
  lost.on({ kind: 'closed', by: 'network' });
  t.same(lost.on(failed), ['close'], 'nobody is there to hear of it');
  t.equal(lost.core.phase, 'failed');
});

test('a disk that fails while P counts on it: P hears which, and that is all that travels', async (t) => {
  for (const [error, why] of [
    ['disk root cannot be written: ENOSPC', 'its disk failed: disk root cannot be written: ENOSPC'],
    ['x'.repeat(1000), `its disk failed: ${'x'.repeat(238)}\u2026`],
  ] as const) {
    const [end] = protectingSecondary().effects({ kind: 'disk-failed', error });
    t.match(end, { notice: { kind: 'colo-exit', reason: 'error' } });
    const sent = protectingSecondary()
      .effects({ kind: 'disk-failed', error })
      .find((effect) => effect.kind === 'send');
    t.strictSame(sent?.kind === 'send' && sent.message, { kind: 'end', reason: 'error', exitCode: 0, why });
  }
});

test('who ended protection, and why, is what it says then', async (t) => {
  const told = (effects: readonly { readonly kind: string }[]) =>
    effects.filter((effect) => effect.kind === 'tell' && JSON.stringify(effect).includes('not-protected'));
  const frame = (message: Message) => ({ kind: 'frame', frame: { role: 'primary', term: term(3), message } }) as const;
  for (const [end, why] of [
    [{ reason: 'unprotect' }, 'an operator ended protection on the primary (colo-vmm unprotect)'],
    [{ reason: 'error', why: 'its log is full' }, 'the primary ended protection: its log is full'],
    [{ reason: 'error' }, 'the primary ended protection'],
  ] as const) {
    const effects = protectingSecondary().effects(frame({ kind: 'end', exitCode: 0, ...end }));
    t.match(told(effects), [{ notice: { kind: 'not-protected', why } }]);
  }
  for (const [stops, reason, why] of [
    [undefined, 'unprotect', 'an operator ended protection here (colo-vmm unprotect)'],
    [true, 'stopped', 'this standby is being stopped'],
  ] as const) {
    const secondary = protectingSecondary();
    const unprotect = { name: 'unprotect', ...(stops === undefined ? {} : { stops }) } as const;
    const [sent] = secondary.effects({ kind: 'command', command: unprotect });
    t.match(sent, { message: { kind: 'end', reason } });
    t.match(told(secondary.effects(frame({ kind: 'ended' }))), [{ notice: { why } }]);
  }
});

test('ends with its primary, or is free for another one', async (t) => {
  t.same(protectingSecondary().hears({ kind: 'end', reason: 'power-off', exitCode: 0 }), ['send ended', 'exit 0']);
  const secondary = protectingSecondary();
  t.same(secondary.hears({ kind: 'end', reason: 'unprotect', exitCode: 0 }), ['send ended', 'discard']);
  t.ok(secondary.hears(hello).includes('send welcome'));
});

test("a guest's last checkpoint is its disks, though the guest has ended before it is loaded", async (t) => {
  const secondary = protectingSecondary();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  t.same(gives(secondary, 1), ['stage', 'send vmstate-received 1', 'load 1']);
  const end = { kind: 'end', reason: 'power-off', exitCode: 0 } as const;
  t.same(secondary.hears(end), ['send ended', 'commit-disk 1', 'exit 0']);

  const loaded = protectingSecondary();
  loaded.hears({ kind: 'checkpoint-request', epoch: e(1) });
  gives(loaded, 1);
  t.same(loaded.on({ kind: 'loaded', epoch: e(1) }), ['commit-disk 1']);
  t.same(loaded.hears(end), ['send ended', 'exit 0'], 'they are already');
});

test('one that ends without the last checkpoint of its guest says which its disks are of', async (t) => {
  const secondary = protectingSecondary();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  secondary.hears({ kind: 'vmstate-send', epoch: e(1), comparing: 0 });
  const message = { kind: 'end', reason: 'power-off', exitCode: 3, why: 'its last checkpoint took too long' } as const;
  const effects = secondary.effects({ kind: 'frame', frame: { role: 'primary', term: term(3), message } });
  t.match(
    effects.flatMap((effect) => (effect.kind === 'tell' ? [effect.notice] : [])),
    [
      { kind: 'ended-behind', through: 0 },
      { kind: 'colo-exit', reason: 'request', why: 'the guest has ended: its last checkpoint took too long' },
    ],
  );
  t.equal(secondary.core.phase, 'ended');

  const offered = protectingSecondary();
  offered.hears({ kind: 'handover', epoch: e(0) });
  t.equal(offered.core.phase, 'taking-over');
  t.same(offered.hears(message), ['send ended', 'exit 3'], 'amid a switchover as well');
});

test('commands are refused with what QEMU says, or a sentence', async (t) => {
  const idle = newSecondary();
  const lost = { kind: 'command', command: { name: 'lost-heartbeat', sure: false } } as const;
  t.same(idle.on(lost), ["refuse lost-heartbeat: The feature 'colo' is not enabled"]);
  t.match(idle.on({ kind: 'command', command: { name: 'checkpoint' } })[0], /ask the primary/);
  const secondary = protectingSecondary();
  t.same(secondary.on(lost), ['close', 'empty-taps', 'ask-arbiter 4']);
  secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.same(secondary.on(lost), ['refuse lost-heartbeat: COLO failover is already activated']);
});

test('a guest that is handed over: the next term on disk, and nothing is said before P is done', async (t) => {
  const secondary = protectingSecondary();
  t.same(secondary.hears({ kind: 'handover', epoch: e(0) }), ['write-term 4']);
  t.same(secondary.on({ kind: 'term-failed', term: term(4) }), []);
  t.same(secondary.rings('ask', settings.askAgainMs), ['write-term 4'], 'it is tried again');
  t.same(secondary.on({ kind: 'term-written', term: term(4) }), ['send handover-ready 0']);
  t.equal(secondary.core.term, 3);
  t.same(secondary.hears({ kind: 'handover-done', epoch: e(0) }), [
    'close',
    'empty-taps',
    'write-term 4',
    'discard',
    'announce',
    'revive 0',
    'open',
    'send-kept 0',
    'replay-input 0',
    'resume-guest',
  ]);
  secondary.on({ kind: 'guest-runs' });
  t.equal(secondary.core.phase, 'live');
  t.equal(secondary.core.term, 4);
});

test("that P's consent ran out is said once, and not of a P that is gone for certain", async (t) => {
  const told = (effects: readonly { readonly kind: string }[]) =>
    effects.flatMap((effect) => (effect.kind === 'tell' && 'notice' in effect ? [(effect.notice as Notice).kind] : []));
  const secondary = protectingSecondary();
  secondary.hears(heartbeat);
  secondary.now += settings.leaseMs / 2;
  t.same(told(secondary.effects({ kind: 'closed', by: 'network' })), ['peer-lost']);
  secondary.now += settings.leaseMs;
  t.same(told(secondary.effects({ kind: 'timer', timer: 'consent', turned: true })), ['consent-over']);
  secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.same(told(secondary.effects({ kind: 'term-written', term: term(4) })), ['takes-over']);

  const late = protectingSecondary();
  late.hears(heartbeat);
  late.now += 2 * settings.leaseMs;
  t.same(told(late.effects({ kind: 'closed', by: 'network' })), ['peer-lost', 'consent-over'], 'no alarm had to ring');

  const gone = protectingSecondary();
  gone.hears(heartbeat);
  gone.now += 2 * settings.leaseMs;
  t.same(told(gone.effects({ kind: 'closed', by: 'peer' })), ['peer-lost']);
});

test('that it is the survivor is said when its guest runs, and not before', async (t) => {
  const told = (effects: readonly { readonly kind: string }[]) =>
    effects.flatMap((effect) => (effect.kind === 'tell' && 'notice' in effect ? [(effect.notice as Notice).kind] : []));
  const secondary = protectingSecondary();
  secondary.on({ kind: 'closed', by: 'peer' });
  secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  t.same(told(secondary.effects({ kind: 'term-written', term: term(4) })), ['takes-over']);
  t.equal(secondary.core.phase, 'going-live');
  const lost = { kind: 'command', command: { name: 'lost-heartbeat', sure: false } } as const;
  t.same(secondary.on(lost), ['refuse lost-heartbeat: COLO failover is already activated']);
  t.same(secondary.on({ kind: 'disk-failed', error: 'EIO' }), [], 'the step that needs the disk fails');
  t.same(told(secondary.effects({ kind: 'guest-runs' })), ['survivor', 'colo-exit']);
  t.equal(secondary.core.phase, 'live');
  t.same(secondary.on({ kind: 'guest-runs' }), []);

  const ended = protectingSecondary();
  ended.hears({ kind: 'handover', epoch: e(0) });
  ended.on({ kind: 'term-written', term: term(4) });
  ended.hears({ kind: 'handover-done', epoch: e(0) });
  const effects = ended.effects({ kind: 'guest-ended', exitCode: 3 });
  t.same(told(effects), ['switched-over', 'colo-exit']);
  t.match(effects.at(-1), { kind: 'exit', exitCode: 3 }, 'the guest of its checkpoint had ended');
});

test('a P that is lost before it is done is taken over from as ever: the arbiter is asked', async (t) => {
  const secondary = protectingSecondary();
  secondary.hears({ kind: 'handover', epoch: e(0) });
  secondary.on({ kind: 'term-written', term: term(4) });
  t.same(secondary.on({ kind: 'closed', by: 'peer' }), ['close', 'empty-taps', 'ask-arbiter 4']);
  t.equal(secondary.core.phase, 'claiming');
});

test('a handover of a checkpoint that is not loaded is out of order', async (t) => {
  for (const message of [
    { kind: 'handover', epoch: e(1) },
    { kind: 'handover-done', epoch: e(0) },
  ] as const) {
    const secondary = protectingSecondary();
    t.ok(secondary.hears(message).includes('ask-arbiter 4'));
  }
});

test('a standby to which the guest is being handed over cannot leave', async (t) => {
  const secondary = protectingSecondary();
  secondary.hears({ kind: 'handover', epoch: e(0) });
  t.same(secondary.on({ kind: 'command', command: { name: 'unprotect' } }), [
    'refuse unprotect: a switchover is under way',
  ]);
});

test('it is told twice to let its primary go, and leaves once', async (t) => {
  const secondary = protectingSecondary();
  const unprotect = { kind: 'command', command: { name: 'unprotect' } } as const;
  t.ok(secondary.on(unprotect).includes('send end'));
  t.equal(secondary.core.phase, 'leaving');
  t.same(secondary.on(unprotect), []);
});

test('a primary that goes on with a checkpoint, and never answers that protection ends, is not waited for for ever', async (t) => {
  const secondary = protectingSecondary();
  secondary.on({ kind: 'command', command: { name: 'unprotect' } });
  const message = { kind: 'checkpoint-request', epoch: e(1) } as const;
  const frame = { role: 'primary', term: secondary.core.term, message } as const;
  const timers = secondary.effects({ kind: 'frame', frame }).filter((effect) => effect.kind === 'timer');
  t.notOk(timers.some(({ timer }) => timer === 'step'));
});

test('a primary whose disk broke is taken over from at once, and nobody is asked', async (t) => {
  const secondary = protectingSecondary();
  t.same(secondary.hears({ kind: 'take-over', why: 'disk root cannot be written: EIO' }), [
    'close',
    'empty-taps',
    'write-term 4',
  ]);
  t.equal(secondary.core.phase, 'claiming');
  t.same(kinds(secondary.on({ kind: 'term-written', term: term(4) })), takeover);
  t.equal(secondary.core.term, 4);
});

test('a take-over is heard once, from a primary that counts on its standby, in their term, and not amid a switchover', async (t) => {
  const message = { kind: 'take-over', why: 'EIO' } as const;
  const seeding = newSecondary();
  seeding.hears(hello);
  seeding.hears(message);
  t.equal(seeding.core.phase, 'listening');

  const ready = readySecondary();
  t.equal(ready.core.phase, 'ready');
  ready.hears(message);
  t.equal(ready.core.phase, 'listening');

  for (const theirs of [2, 4]) {
    const other = protectingSecondary();
    t.same(
      other.hears(message, term(theirs)),
      ['close', 'empty-taps', 'ask-arbiter 4'],
      'a connection with such words is no peer',
    );
    t.equal(other.core.phase, 'claiming');
  }

  const switching = protectingSecondary();
  switching.hears({ kind: 'handover', epoch: e(0) });
  t.equal(switching.core.phase, 'taking-over');
  t.same(switching.hears(message), ['close', 'empty-taps', 'ask-arbiter 4']);

  const twice = protectingSecondary();
  twice.hears(message);
  t.same(twice.hears(message), []);
  twice.on({ kind: 'term-written', term: term(4) });
  t.equal(twice.core.phase, 'going-live');
  t.same(twice.hears(message), []);

  const leaving = protectingSecondary();
  leaving.on({ kind: 'command', command: { name: 'unprotect' } });
  t.same(leaving.hears(message), []);
  t.equal(leaving.core.phase, 'leaving');
});

test('a take-over amid a load waits for it, and stands where the primary was told that it does', async (t) => {
  const secondary = protectingSecondary();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  t.ok(gives(secondary, 1).includes('send vmstate-received 1'));
  t.same(secondary.hears({ kind: 'take-over', why: 'EIO' }), ['close', 'empty-taps', 'write-term 4']);
  t.same(kinds(secondary.on({ kind: 'term-written', term: term(4) })), []);
  secondary.on({ kind: 'loaded', epoch: e(1) });
  const effects = secondary.on({ kind: 'disk-committed', epoch: e(1) });
  t.ok(effects.includes('revive 1'), effects.join());
  t.equal(secondary.core.phase, 'going-live');
});

import { test } from 'tap';
import { epoch, term } from '../../../../../src/colo/protocol/numbers.ts';
import { hello, newSecondary, type ScriptedSecondary } from '../scripted.ts';

const e = epoch;
const data = new Uint8Array(4);

/** Everything of a checkpoint after which its guest runs. @param begins with its first message, or that was there already */
function gives(secondary: ScriptedSecondary, n: number, begins = true): string[] {
  if (begins) secondary.hears({ kind: 'vmstate-send', epoch: e(n), comparing: 1 });
  secondary.hears({ kind: 'pages-end', epoch: e(n), items: 0 });
  secondary.hears({ kind: 'vmstate-size', epoch: e(n), value: 8 });
  secondary.hears({ kind: 'disk-end', epoch: e(n), items: 0 });
  secondary.hears({ kind: 'vmstate', epoch: e(n), data: new Uint8Array(8) });
  return secondary.hears({ kind: 'packets-end', epoch: e(n), items: n === 0 ? 0 : inputs });
}
let inputs = 0;

/** A secondary whose guest runs from checkpoint 0, and which is counted on. */
function running(): ScriptedSecondary {
  inputs = 0;
  const secondary = newSecondary({ compares: true });
  secondary.hears(hello);
  gives(secondary, 0);
  secondary.on({ kind: 'loaded', epoch: e(0) });
  secondary.on({ kind: 'disk-committed', epoch: e(0) });
  secondary.on({ kind: 'started', epoch: e(0) });
  secondary.hears({ kind: 'protected' });
  return secondary;
}

const input = (n: number) => ({ kind: 'input', epoch: e(n), card: 0, data }) as const;

test('the guest runs from each checkpoint, and only then READY or LOADED is said', async (t) => {
  const secondary = newSecondary({ compares: true });
  secondary.hears(hello);
  t.same(gives(secondary, 0), ['stage', 'load 0']);
  t.same(secondary.on({ kind: 'loaded', epoch: e(0) }), ['commit-disk 0']);
  t.same(secondary.on({ kind: 'disk-committed', epoch: e(0) }), ['start 0']);
  t.equal(secondary.core.guest, 'none');
  t.same(secondary.on({ kind: 'started', epoch: e(0) }), ['let-in-kept 1', 'send checkpoint-ready 0']);
  t.equal(secondary.core.guest, 'running');
});

test("P's input enters the guest that runs; of the next epoch, or while it is stopped, it waits", async (t) => {
  const secondary = running();
  t.same(secondary.hears(input(1)), ['let-in']);
  t.same(secondary.hears({ kind: 'checkpoint-request', epoch: e(1) }), ['pause-guest', 'send checkpoint-reply 1']);
  t.same(secondary.hears(input(1)), ['stage']);
  inputs = 2;
  gives(secondary, 1);
  t.same(secondary.hears(input(2)), ['stage']);
  secondary.on({ kind: 'loaded', epoch: e(1) });
  secondary.on({ kind: 'disk-committed', epoch: e(1) });
  t.same(secondary.on({ kind: 'started', epoch: e(1) }), ['let-in-kept 2', 'send vmstate-loaded 1']);
});

test('what P has confirmed is forgotten; what it confirms of an epoch that is over already is', async (t) => {
  const secondary = running();
  t.same(secondary.hears({ kind: 'output-confirmed', epoch: e(1), items: 3 }), ['forget-own 1']);
  t.same(secondary.hears({ kind: 'output-confirmed', epoch: e(0), items: 9 }), []);
  t.ok(secondary.hears({ kind: 'output-confirmed', epoch: e(7), items: 1 }).includes('ask-arbiter 4'));
});

/** P is lost, and S may. */
function takenOver(secondary: ScriptedSecondary): string[] {
  secondary.on({ kind: 'closed', by: 'peer' });
  secondary.on({ kind: 'arbiter', term: term(4), answer: 'yes' });
  return secondary.on({ kind: 'term-written', term: term(4) });
}

test('a guest that runs is taken over as it is, and what it said goes out before anything new', async (t) => {
  t.same(takenOver(running()), [
    'discard',
    'announce',
    'hold-guest',
    'send-kept 0',
    'open',
    'replay-input 0',
    'resume-guest',
  ]);
});

test('one that was stopped for a checkpoint that never came whole goes on where it was stopped', async (t) => {
  const secondary = running();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  secondary.hears({ kind: 'vmstate-send', epoch: e(1), comparing: 1 });
  t.ok(takenOver(secondary).includes('hold-guest'));
});

test('a load that has begun is finished first, and the guest of that checkpoint is revived', async (t) => {
  const secondary = running();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  gives(secondary, 1);
  t.same(takenOver(secondary), []);
  t.same(secondary.on({ kind: 'loaded', epoch: e(1) }), ['commit-disk 1']);
  t.ok(secondary.on({ kind: 'disk-committed', epoch: e(1) }).includes('revive 1'));
});

test('one that is just being started is taken over as soon as it runs', async (t) => {
  const secondary = running();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  gives(secondary, 1);
  secondary.on({ kind: 'loaded', epoch: e(1) });
  secondary.on({ kind: 'disk-committed', epoch: e(1) });
  t.same(takenOver(secondary), []);
  const live = secondary.on({ kind: 'started', epoch: e(1) });
  t.equal(live[0], 'let-in-kept 2');
  t.ok(live.includes('hold-guest'));
});

test('nothing of it goes on when the arbiter says no, or when protection ends', async (t) => {
  const refused = running();
  refused.on({ kind: 'closed', by: 'network' });
  t.same(refused.on({ kind: 'arbiter', term: term(4), answer: 'no' }), ['pause-guest', 'shut', 'discard']);
  t.ok(running().hears({ kind: 'end', reason: 'unprotect', exitCode: 0 }).includes('pause-guest'));
});

test('a guest that ends here alone, or says more than can be kept or compared, wants a checkpoint', async (t) => {
  const secondary = running();
  t.same(secondary.on({ kind: 'guest-ended', exitCode: 2 }), ['send checkpoint-wanted']);
  for (const of of ['output', 'input', 'disk', 'connections'] as const) {
    t.same(secondary.on({ kind: 'own-room-half', of }), ['send checkpoint-wanted']);
  }
});

test('a guest that is handed over stands still, and one that has ended by itself is not handed over', async (t) => {
  const offer = { kind: 'handover', epoch: e(0) } as const;
  t.same(running().hears(offer), ['pause-guest']);
  const ended = running();
  ended.on({ kind: 'guest-ended', exitCode: 2 });
  t.same(ended.hears(offer), []);
  t.equal(ended.core.phase, 'protecting');
  t.same(ended.hears({ kind: 'checkpoint-request', epoch: e(1) }), ['pause-guest', 'send checkpoint-reply 1']);
  gives(ended, 1);
  ended.on({ kind: 'loaded', epoch: e(1) });
  ended.on({ kind: 'disk-committed', epoch: e(1) });
  ended.on({ kind: 'started', epoch: e(1) });
  t.same(ended.hears({ kind: 'handover', epoch: e(1) }), ['pause-guest'], 'but the next one is');
});

test('a standby is ready once its guest is paused and then the term is written', async (t) => {
  const written = { kind: 'term-written', term: term(4) } as const;
  const secondary = running();
  t.same(secondary.hears({ kind: 'handover', epoch: e(0) }), ['pause-guest']);
  t.same(secondary.on({ kind: 'guest-paused' }), ['write-term 4']);
  t.same(secondary.on(written), ['send handover-ready 0']);
  t.same(secondary.on(written), [], 'a write that was tried again');
});

test('a guest that ended before it was paused is not handed over, but after the next checkpoint', async (t) => {
  const secondary = running();
  secondary.hears({ kind: 'handover', epoch: e(0) });
  t.same(secondary.on({ kind: 'guest-ended', exitCode: 2 }), ['send checkpoint-wanted']);
  t.equal(secondary.core.phase, 'protecting');
  t.same(secondary.on({ kind: 'guest-paused' }), [], 'the next term is not on disk: P may go on without it in its own');
  t.same(secondary.hears({ kind: 'checkpoint-request', epoch: e(1) }), ['send checkpoint-reply 1']);
  gives(secondary, 1);
  secondary.on({ kind: 'loaded', epoch: e(1) });
  secondary.on({ kind: 'disk-committed', epoch: e(1) });
  secondary.on({ kind: 'started', epoch: e(1) });
  t.same(secondary.hears({ kind: 'handover', epoch: e(1) }), ['pause-guest']);
  t.same(secondary.on({ kind: 'guest-paused' }), ['write-term 4']);
  t.same(secondary.on({ kind: 'term-written', term: term(4) }), ['send handover-ready 1']);
  const lost = running();
  lost.hears({ kind: 'handover', epoch: e(0) });
  lost.on({ kind: 'guest-ended', exitCode: 2 });
  t.ok(takenOver(lost).includes('hold-guest'), 'a loss is one as ever');
});

test('of a guest that ended while it was started, P is told once it counts as running', async (t) => {
  const secondary = running();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  gives(secondary, 1);
  secondary.on({ kind: 'loaded', epoch: e(1) });
  secondary.on({ kind: 'disk-committed', epoch: e(1) });
  t.same(secondary.on({ kind: 'guest-ended', exitCode: 2 }), []);
  t.same(secondary.on({ kind: 'started', epoch: e(1) }), [
    'let-in-kept 2',
    'send vmstate-loaded 1',
    'send checkpoint-wanted',
  ]);
});

test('a standby whose guest is not to run refuses a primary that wants it to', async (t) => {
  const secondary = newSecondary();
  secondary.hears(hello);
  t.ok(secondary.hears({ kind: 'vmstate-send', epoch: e(0), comparing: 1 }).includes('close'));
});

test('a mode that nobody knows ends the connection', async (t) => {
  const secondary = running();
  secondary.hears({ kind: 'checkpoint-request', epoch: e(1) });
  t.ok(secondary.hears({ kind: 'vmstate-send', epoch: e(1), comparing: 2 }).includes('ask-arbiter 4'));
});

test("the guest is started with what is needed to set its clock to P's: when the stop of that checkpoint was over", async (t) => {
  const secondary = newSecondary({ compares: true });
  secondary.hears(hello);
  secondary.now = 2000;
  secondary.hears({ kind: 'vmstate-send', epoch: e(0), comparing: 1 });
  secondary.now = 2300;
  gives(secondary, 0, false);
  secondary.now = 2400;
  secondary.on({ kind: 'loaded', epoch: e(0) });
  secondary.now = 2500;
  t.match(secondary.effects({ kind: 'disk-committed', epoch: e(0) }), [{ kind: 'start', stoppedAt: 2000 }]);
});

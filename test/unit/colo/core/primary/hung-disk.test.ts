import { test } from 'tap';
import { epoch } from '../../../../../src/colo/protocol/numbers.ts';
import { shape } from '../../protocol/messages.ts';
import { newPrimary, protectedPrimary, type ScriptedPrimary, seed, settings } from '../scripted.ts';

const { stepMs } = settings;
const end = { kind: 'end', reason: 'unprotect', exitCode: 0 } as const;

/** A primary whose guest waits for room in the disk log, and when its patience with S's disk ends. */
function waiting() {
  const primary = protectedPrimary();
  let ringsAt = Number.POSITIVE_INFINITY;
  const on = (event: Parameters<typeof primary.effects>[0]): void => {
    for (const effect of primary.effects(event)) {
      if (effect.kind === 'timer' && effect.timer === 'disk-log') ringsAt = effect.at;
    }
  };
  const says = (kind: 'checkpoint-reply' | 'vmstate-received' | 'vmstate-loaded', n: number): void =>
    on({ kind: 'frame', frame: { role: 'secondary', term: primary.core.term, message: { kind, epoch: epoch(n) } } });
  const checkpoint = (n: number): void => {
    on({ kind: 'command', command: { name: 'checkpoint' } });
    says('checkpoint-reply', n);
    on({ kind: 'captured', epoch: epoch(n), stateBytes: 8, stoppedMs: 1 });
    says('vmstate-received', n);
    says('vmstate-loaded', n);
  };
  return { primary, on, checkpoint, ringsAt: () => ringsAt };
}

test('a full disk log is the debt of a standby from the checkpoint on that lets it lay it down', async (t) => {
  const { primary, on, checkpoint, ringsAt } = waiting();
  on({ kind: 'disk-log-full', isFull: true });
  t.equal(ringsAt(), Number.POSITIVE_INFINITY, 'it may not be laid down yet');
  checkpoint(1);
  t.equal(ringsAt(), primary.now + stepMs);
  primary.now += 100;
  const before = ringsAt();
  checkpoint(2);
  t.equal(ringsAt(), before, 'further checkpoints are no excuse');
  on({ kind: 'disk-log-full', isFull: true });
  t.equal(ringsAt(), primary.now + stepMs, 'but a disk that takes some has its time again');
  on({ kind: 'disk-log-full', isFull: false });
  t.equal(ringsAt(), Number.POSITIVE_INFINITY);
});

test('what the checkpoint that a standby stands at lets it lay down it owes at once', async (t) => {
  const { primary, on, ringsAt } = waiting();
  primary.core.diskWindow.forward(60);
  primary.core.diskWindow.epochEnded();
  primary.core.diskWindow.forward(40);
  on({ kind: 'disk-log-full', isFull: true });
  t.equal(ringsAt(), primary.now + stepMs, 'the open epoch may be far from its end');
});

test('a full disk log that is told of once its pairing is over is nothing to the next one', async (t) => {
  const { primary, on, ringsAt } = waiting();
  primary.core.diskWindow.forward(60);
  primary.core.diskWindow.epochEnded();
  on({ kind: 'frame', frame: { role: 'secondary', term: primary.core.term, message: end } });
  t.equal(primary.core.phase, 'unprotected');
  on({ kind: 'disk-log-full', isFull: true });
  t.equal(ringsAt(), Number.POSITIVE_INFINITY);

  on({ kind: 'command', command: { name: 'protect' } });
  on({ kind: 'connected' });
  on({ kind: 'disk-log-full', isFull: true });
  on({ kind: 'frame', frame: { role: 'secondary', term: primary.core.term, message: { kind: 'welcome', shape } } });
  t.equal(primary.core.phase, 'synchronising');
  t.equal(ringsAt(), Number.POSITIVE_INFINITY, 'nor if another is about to begin');
});

test('a standby that beats, and whose disk takes nothing, does not keep the guest waiting for ever', async (t) => {
  const { primary, on, checkpoint } = waiting();
  on({ kind: 'disk-log-full', isFull: true });
  checkpoint(1);
  const effects = primary.rings('disk-log', stepMs);
  t.ok(effects.includes('send end'), 'it is to give up its right');
  t.notOk(effects.includes('ask-arbiter'), 'nor might it be the first one there, which cannot go on');
  const { term } = primary.core;
  on({ kind: 'frame', frame: { role: 'secondary', term, message: { kind: 'ended' } } });
  t.equal(primary.core.phase, 'unprotected', 'it has given up its right, and the guest runs on');
});

/** What the primary hears of its standby's disk; whether its patience with what that owes began anew. */
function laid(primary: ScriptedPrimary, laidBytes: number): boolean {
  const message = { kind: 'heartbeat', clock: 0, echo: Number.NaN, laidBytes } as const;
  const effects = primary.effects({ kind: 'frame', frame: { role: 'secondary', term: primary.core.term, message } });
  return effects.some(
    (effect) => effect.kind === 'timer' && effect.timer === 'step' && effect.at === primary.now + settings.stepMs,
  );
}

/** A primary whose standby has received a checkpoint of an epoch in which a hundred bytes were written, of two that compare or do not. */
function receivedBy(compares: boolean): ScriptedPrimary {
  const primary = protectedPrimary({ compares });
  primary.on({ kind: 'command', command: { name: 'checkpoint' } });
  primary.core.diskWindow.forward(100);
  primary.core.diskWindow.epochEnded();
  primary.hears({ kind: 'checkpoint-reply', epoch: epoch(1) });
  primary.on({ kind: 'captured', epoch: epoch(1), stateBytes: 8, stoppedMs: 1 });
  primary.hears({ kind: 'vmstate-received', epoch: epoch(1) });
  return primary;
}

test('a standby whose guest is to run is not overdue while its disk takes what that waits for', async (t) => {
  const primary = receivedBy(true);
  primary.now += 100;
  t.ok(laid(primary, 60));
  t.notOk(laid(primary, 60), 'it took nothing since');
  t.ok(laid(primary, 80));
  t.notOk(laid(receivedBy(false), 60), 'nothing waits for it where its guest does not run');
});

test('nor is it before it is counted on', async (t) => {
  const primary = newPrimary({ compares: true });
  seed(primary);
  primary.core.diskWindow.forward(100);
  t.ok(laid(primary, 60));
  primary.hears({ kind: 'checkpoint-ready', epoch: epoch(0) });
  t.equal(primary.core.phase, 'protected');
});

test('one whose disk takes nothing of that gives up its right first', async (t) => {
  const hung = receivedBy(true);
  laid(hung, 60);
  const effects = hung.rings('step', stepMs);
  t.ok(effects.includes('send end'));
  t.notOk(effects.includes('ask-arbiter'));

  const stuck = receivedBy(true);
  laid(stuck, 100);
  t.ok(stuck.rings('step', stepMs).includes('ask-arbiter 4'), 'one whose disk has all is not there');
});

import { test } from 'tap';
import { epoch } from '../../../../../src/colo/protocol/numbers.ts';
import { protectedPrimary, settings } from '../scripted.ts';

const { stepMs } = settings;

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

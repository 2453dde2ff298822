import { test } from 'tap';
import type { PrimaryEvent } from '../../../../../src/colo/core/events.ts';
import { wantedFor } from '../../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../../src/colo/protocol/numbers.ts';
import { protectedPrimary, type ScriptedPrimary } from '../scripted.ts';

const e = epoch;
const diverged = (n: number, waitedMs = 0): PrimaryEvent => ({
  ...{ kind: 'comparison-wants', epoch: e(n), why: 'divergence', waitedMs },
});

/** A primary that is protected, in epoch 1, which is compared. */
function comparingPrimary(): ScriptedPrimary {
  return protectedPrimary({ compares: true, buffersForMs: 1000 });
}

/** The rest of a checkpoint that was requested. */
function finish(primary: ScriptedPrimary, n: number): void {
  primary.hears({ kind: 'checkpoint-reply', epoch: e(n) });
  primary.on({ kind: 'captured', epoch: e(n), stateBytes: 8, stoppedMs: 1 });
  primary.hears({ kind: 'vmstate-received', epoch: e(n) });
  primary.hears({ kind: 'vmstate-loaded', epoch: e(n) });
}

/** The same; what is told of the mode at its stop. */
function modesIn(primary: ScriptedPrimary, n: number): unknown {
  primary.hears({ kind: 'checkpoint-reply', epoch: e(n) });
  const effects = primary.effects({ kind: 'captured', epoch: e(n), stateBytes: 8, stoppedMs: 1 });
  primary.hears({ kind: 'vmstate-received', epoch: e(n) });
  primary.hears({ kind: 'vmstate-loaded', epoch: e(n) });
  return effects.flatMap((effect) => (effect.kind === 'tell' && effect.notice.kind === 'mode' ? [effect.notice] : []));
}

/** As {@link modesIn}, of a checkpoint that an operator asks for. */
function modesAfter(primary: ScriptedPrimary, n: number): unknown {
  primary.on({ kind: 'command', command: { name: 'checkpoint' } });
  return modesIn(primary, n);
}

test('output that waits for its like wants no checkpoint, a divergence does', async (t) => {
  const primary = comparingPrimary();
  t.equal(primary.core.mode.mode, 'comparing');
  t.same(primary.on({ kind: 'output-waits' }), []);
  t.same(primary.on(diverged(1)), ['send checkpoint-request 1', 'capture 1']);
});

test('S is told with each checkpoint how the epoch after it is', async (t) => {
  const primary = comparingPrimary();
  const [capture] = primary.effects(diverged(1)).filter(({ kind }) => kind === 'capture');
  primary.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  t.match(capture, { epoch: 1, mode: 'comparing' });
  const sent = primary.effects({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  t.ok(
    sent.some(
      (effect) => effect.kind === 'send' && effect.message.kind === 'vmstate-send' && effect.message.comparing === 1,
    ),
  );
});

test('what is found in an epoch that is over wants nothing; what is found before P hears of its stop does', async (t) => {
  const primary = comparingPrimary();
  primary.on(diverged(1));
  primary.hears({ kind: 'checkpoint-reply', epoch: e(1) });
  t.same(primary.on(diverged(1)), []);
  primary.on(diverged(2));
  primary.on({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
  primary.hears({ kind: 'vmstate-received', epoch: e(1) });
  t.same(primary.hears({ kind: 'vmstate-loaded', epoch: e(1) }), ['send checkpoint-request 2', 'capture 2']);
});

test("only output of the open epoch is compared; one of the future is the peer's mistake", async (t) => {
  const primary = comparingPrimary();
  t.equal(primary.core.compares(e(1)), true);
  t.equal(primary.core.compares(e(0)), false);
  t.throws(() => primary.core.compares(e(2)), { name: 'ProtocolError' });
  t.equal(protectedPrimary().core.compares(e(1)), false, 'in a buffered epoch none is');
});

test('a guest that S alone saw end is divergence', async (t) => {
  const primary = comparingPrimary();
  t.same(primary.hears({ kind: 'checkpoint-wanted', why: 1 }), ['send checkpoint-request 1', 'capture 1']);
});

test('what it takes to find that guests do not agree is a cost of comparing, too, but never more than the epoch', async (t) => {
  const modeAfter = (waitedMs: number): string => {
    const primary = comparingPrimary();
    for (let n = 1; n <= 5; n++) {
      // The rest is quick.
      primary.now += 50;
      primary.on(diverged(n, waitedMs));
      primary.now += 1;
      finish(primary, n);
    }
    return primary.core.mode.mode;
  };
  t.equal(modeAfter(0), 'comparing');
  t.equal(modeAfter(40), 'buffered');
  t.equal(modeAfter(1e9), 'buffered');
});

test('guests that never agree are buffered, until it is tried again', async (t) => {
  const primary = comparingPrimary();
  let n = 1;
  for (; n <= 4; n++) {
    primary.on(diverged(n));
    primary.now += 10;
    finish(primary, n);
  }
  t.equal(primary.core.mode.mode, 'comparing', 'as long as the epoch lasts');
  primary.on({ kind: 'command', command: { name: 'checkpoint' } });
  finish(primary, n++);
  t.equal(primary.core.mode.mode, 'buffered');
  t.match(primary.core.mode.why, /did not agree/);
  t.same(primary.on({ kind: 'output-waits' }), [], 'the guest has its share of the time first');
  primary.now += 2000;
  t.same(
    primary.rings('checkpoint', 0),
    [`send checkpoint-request ${n}`, `capture ${n}`],
    'and output is what checkpoints are for',
  );
  finish(primary, n);
  t.equal(primary.core.mode.mode, 'comparing');
});

test('an epoch in which output waits longer than it would for a checkpoint ends soon, and the next one is buffered', async (t) => {
  const primary = comparingPrimary();
  primary.on({ kind: 'command', command: { name: 'checkpoint' } });
  primary.now += 10;
  finish(primary, 1);
  t.equal(primary.core.mode.mode, 'comparing');
  const waited = (each: number): PrimaryEvent => ({
    ...{ kind: 'output-waited', mode: 'comparing', packets: 100, waitedMs: 100 * each },
  });
  primary.now += 1000;
  t.same(primary.on(waited(10)), [], 'as long as it would wait otherwise');
  t.same(primary.on(waited(100)), ['send checkpoint-request 2', 'capture 2']);
  finish(primary, 2);
  t.equal(primary.core.mode.mode, 'buffered');
  t.match(primary.core.mode.why, /output waited for both guests/);
});

test('an epoch for which the guest of the standby would wait long, for its disk, is buffered', async (t) => {
  const primary = protectedPrimary({ compares: true, diskLogBytes: 100 });
  primary.core.diskWindow.forward(60);
  const why = "the standby's guest would wait until its disk has what was written";
  t.match(modesAfter(primary, 1), [{ mode: 'buffered', why, forDisk: true }]);
  t.match(primary.core.mode, { mode: 'buffered', why });
  primary.core.diskWindow.laid(20);
  t.match(modesAfter(primary, 2), [{ mode: 'comparing', why: /both guests run/, forDisk: true }]);
});

test('that comparing is given up, or tried again, is told also while the disk of the standby is behind', async (t) => {
  const primary = protectedPrimary({ compares: true, buffersForMs: 1000, diskLogBytes: 100 });
  for (let n = 1; n <= 4; n++) {
    if (n === 4) primary.core.diskWindow.forward(60);
    primary.on(diverged(n));
    primary.now += 10;
    const modes = modesIn(primary, n);
    if (n < 4) t.same(modes, []);
    else t.match(modes, [{ mode: 'buffered', why: /its disk/, forDisk: true }]);
  }
  t.match(modesAfter(primary, 5), [{ mode: 'buffered', why: /did not agree/, forDisk: false }]);
  primary.now += 2000;
  t.match(modesAfter(primary, 6), [{ mode: 'buffered', why: /its disk/, forDisk: false }]);
  t.same(modesAfter(primary, 7), []);
  primary.core.diskWindow.laid(60);
  t.match(modesAfter(primary, 8), [{ mode: 'comparing', why: /tried again/, forDisk: true }]);
});

test('a checkpoint says what it is for: that guests differ, that S has no more room, that the mode is wrong', async (t) => {
  const reasonsAfter = (...events: PrimaryEvent[]): readonly string[] | undefined => {
    const primary = comparingPrimary();
    for (const event of events) primary.on(event);
    const effects = primary.effects({ kind: 'captured', epoch: e(1), stateBytes: 8, stoppedMs: 1 });
    const told = effects.flatMap((effect) => (effect.kind === 'tell' ? [effect.notice] : []));
    return told.find((notice) => notice.kind === 'checkpoint')?.reasons;
  };
  const wanted = (why: number): PrimaryEvent => ({
    kind: 'frame',
    frame: { role: 'secondary', term: term(3), message: { kind: 'checkpoint-wanted', why } },
  });
  t.same(reasonsAfter(diverged(1)), ['divergence']);
  t.same(reasonsAfter({ ...diverged(1), why: 'backlog' } as PrimaryEvent), ['backlog']);
  t.same(reasonsAfter(wanted(wantedFor.guest)), ['divergence']);
  for (const why of [wantedFor.output, wantedFor.input, wantedFor.disk]) t.same(reasonsAfter(wanted(why)), ['room']);
  t.same(reasonsAfter(wanted(wantedFor.diskLog)), ['disk-log']);
});

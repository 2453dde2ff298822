import { test } from 'tap';
import type { Effect } from '../../../../../src/colo/core/events.ts';
import { Claim } from '../../../../../src/colo/core/fencing/claim.ts';
import { ConsentGiven, ConsentHeld, ConsentMissed } from '../../../../../src/colo/core/fencing/consent.ts';
import { newFailover } from '../../../../../src/colo/core/fencing/failover.ts';
import { Heartbeat, pairingPatience } from '../../../../../src/colo/core/fencing/heartbeat.ts';
import { specification as rules } from '../../../../../src/colo/core/rules.ts';
import { defaultSettings as settings } from '../../../../../src/colo/core/settings.ts';
import { term } from '../../../../../src/colo/protocol/numbers.ts';
import { words } from '../scripted.ts';

test('failover goes as A.4 says, and names both states when it cannot', async (t) => {
  const failover = newFailover();
  failover.swap('none', 'require');
  t.throws(() => failover.swap('none', 'require'), { message: 'failover cannot go from require to require' });
  failover.swap('require', 'active');
  failover.swap('active', 'relaunch');
  t.throws(() => failover.move('completed'), { message: 'failover cannot go from relaunch to completed' });
  failover.swap('relaunch', 'none');
});

test('consent counts from when the heartbeat was sent, by the clock that sent it', async (t) => {
  const held = new ConsentHeld(rules, settings);
  t.ok(held.answered(1000, 1090));
  t.equal(held.until, 1000 + settings.leaseMs);
  t.notOk(held.answered(900, 1100), 'a late answer takes nothing away');
  held.withdraw();
  t.equal(held.until, Number.NEGATIVE_INFINITY);
});

test('consent is missed from when it is over until there is some again, and not while P itself did not run', async (t) => {
  const missed = new ConsentMissed({ heartbeatMs: 50 });
  missed.begin(1000);
  t.equal(missed.look(1050), 50);
  missed.held(1150);
  t.equal(missed.look(1100), 0);
  t.equal(missed.look(1160), 10, 'since its end');
  t.equal(missed.look(1200), 50);
  t.equal(missed.look(9000), 150, 'that was two heartbeats at most');
  missed.held(9010);
  t.equal(missed.look(9050), 40, 'whatever was missed before a moment of consent');
  missed.begin(9100);
  t.equal(missed.look(9120), 20);
});

test("P's consent is over for S when it is over on the slowest clock P may have, seen on the fastest of S", async (t) => {
  const { leaseMs, clockRateError } = settings;
  const given = new ConsentGiven(rules, settings);
  t.ok(given.isOver(0), 'none was given');
  given.answered(1000);
  const realMs = leaseMs / (1 - clockRateError);
  t.notOk(given.isOver(1000 + realMs * (1 + clockRateError)));
  t.ok(given.isOver(1000 + realMs * (1 + clockRateError) + 2));
  given.answered(5000);
  given.closed('network');
  t.notOk(given.isOver(5001), 'a network that broke proves nothing');
  given.closed('peer');
  t.ok(given.isOver(5001));
});

test('a peer is silent after the detection time; one that overslept gives it a heartbeat of grace, once', async (t) => {
  const { detectMs, heartbeatMs } = settings;
  const heartbeat = new Heartbeat(rules, settings);
  heartbeat.start(0);
  heartbeat.nextAt(0);
  t.notOk(heartbeat.isSilent(heartbeatMs));
  heartbeat.nextAt(heartbeatMs);
  const woken = 10 * detectMs;
  t.notOk(heartbeat.isSilent(woken), 'its heartbeats wait unread');
  t.equal(heartbeat.nextAt(woken), woken + heartbeatMs);
  t.ok(heartbeat.isSilent(woken + heartbeatMs));
  heartbeat.heard(woken + heartbeatMs);
  t.notOk(heartbeat.isSilent(woken + 2 * heartbeatMs));
});

test('while a pair is made a peer may be silent for longer, and alarms ring no more often for that', async (t) => {
  const { detectMs, heartbeatMs } = settings;
  const heartbeat = new Heartbeat(rules, settings);
  const [isPairing, limitMs] = [true, pairingPatience * detectMs];
  heartbeat.start(0);
  for (let now = 0; now < limitMs; now = heartbeat.nextAt(now, isPairing)) {
    t.notOk(heartbeat.isSilent(now, isPairing), `${now} ms`);
    t.ok(heartbeat.nextAt(now, isPairing) - now > 1, 'until the peer is due, nobody hurries');
    t.ok(heartbeat.nextAt(now, isPairing) - now <= heartbeatMs);
  }
  t.ok(heartbeat.isSilent(limitMs, isPairing));
  t.ok(heartbeat.isSilent(detectMs), 'of a pair that is made the detection time holds');
});

/** A claim that asks for term 4, and what it wants done. */
function claiming(): { readonly claim: Claim; readonly done: () => string[] } {
  const claim = new Claim(term(3), rules, settings);
  let effects: Effect[] = [];
  const sink: Effect[] = [];
  claim.start(term(3), false, false, 0, sink);
  effects = sink;
  return { claim, done: () => words(effects.splice(0)) };
}

test('a claim asks the same question until it is answered', async (t) => {
  const effects: Effect[] = [];
  const { claim, done } = claiming();
  t.same(done(), ['ask-arbiter 4']);
  claim.answered(term(4), 'unknown', 1, effects);
  claim.again(300, effects);
  t.same(words(effects.splice(0)), ['ask-arbiter 4']);
  claim.answered(term(3), 'yes', 301, effects);
  t.equal(claim.state, 'asking', 'that was the answer to an earlier question');
  claim.answered(term(4), 'yes', 302, effects);
  t.same(words(effects.splice(0)), ['write-term 4']);
  t.notOk(claim.holds, 'not before it is on disk');
  claim.termWritten(term(4), effects);
  t.ok(claim.holds);
});

test('a claim that was refused stays so', async (t) => {
  const effects: Effect[] = [];
  const { claim } = claiming();
  claim.answered(term(4), 'no', 1, effects);
  claim.answered(term(4), 'yes', 2, effects);
  claim.again(3, effects);
  t.equal(claim.state, 'refused');
  t.same(words(effects), []);
});

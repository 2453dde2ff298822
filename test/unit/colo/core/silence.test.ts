import { type Test, test } from 'tap';
import type { CommonEvent, Effect, PrimaryEvent, SecondaryEvent, TimerName } from '../../../../src/colo/core/events.ts';
import { Primary } from '../../../../src/colo/core/primary/primary.ts';
import { Secondary } from '../../../../src/colo/core/secondary/secondary.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { type Epoch, epoch, peerOf, type Role, type Term, term } from '../../../../src/colo/protocol/numbers.ts';
import { shape } from '../protocol/messages.ts';
import { settings as usual } from './scripted.ts';

const settings = { ...usual, livePasses: 1, checkpointDelayMs: 1000 };
const stateBytes = 8;

interface Core {
  readonly phase: string;
  readonly step: string;
  readonly term: Term;
  handle(event: never, now: number): readonly Effect[];
}

/** One of the two: a core, its alarms, and everything it has said other than heartbeats. */
interface Side {
  readonly core: Core;
  readonly timers: Map<TimerName, number>;
  readonly said: Message['kind'][];
  readonly whys: string[];
}

/**
 * Both cores, a perfect network and machines that do everything at once. One of the two may fall silent after so many of its
 * messages: it goes on beating, and answers heartbeats, and does nothing else.
 */
class Conversation {
  now = 0;
  readonly sides: Record<Role, Side>;
  readonly #silent: Role;
  readonly #after: number;
  #epoch: Epoch = epoch(0);
  #term: Term | undefined;
  #queue: (() => void)[] = [];
  #beatsAt = 0;

  constructor(silent: Role, after: number) {
    this.#silent = silent;
    this.#after = after;
    const parts = { pair: 'web', shape, term: term(1), settings };
    this.sides = { primary: newSide(new Primary(parts)), secondary: newSide(new Secondary(parts)) };
    this.#post('primary', { kind: 'command', command: { name: 'protect' } });
    this.#run();
  }

  get hasFallenSilent(): boolean {
    return this.sides[this.#silent].said.length >= this.#after;
  }

  /** Time passes, alarm by alarm. */
  passes(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const due = (['primary', 'secondary'] as const).flatMap((role) =>
        [...this.sides[role].timers].map(([timer, at]) => ({ role, timer, at })),
      );
      const beats = this.hasFallenSilent ? this.#beatsAt : Number.POSITIVE_INFINITY;
      const next = due.reduce((first, other) => (other.at < first.at ? other : first), {
        role: this.#silent,
        timer: 'none' as TimerName | 'none',
        at: beats,
      });
      if (next.at > end) break;
      this.now = Math.max(this.now, next.at);
      if (next.timer === 'none') {
        this.#beatsAt = this.now + settings.heartbeatMs;
        this.#deliver(this.#silent, { kind: 'heartbeat', clock: this.now, echo: Number.NaN, laidBytes: 0 });
      } else {
        this.sides[next.role].timers.delete(next.timer);
        this.#post(next.role, { kind: 'timer', timer: next.timer, turned: true });
      }
      this.#run();
    }
    this.now = end;
  }

  #isPuppet(role: Role): boolean {
    return role === this.#silent && this.hasFallenSilent;
  }

  #post(role: Role, event: CommonEvent | PrimaryEvent | SecondaryEvent): void {
    this.#queue.push(() => {
      if (this.#isPuppet(role)) return;
      const effects = this.sides[role].core.handle(event as never, this.now);
      for (const effect of effects) this.#do(role, effect);
    });
  }

  #run(): void {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) next();
  }

  #say(role: Role, message: Message): void {
    if (this.#isPuppet(role)) return;
    if (message.kind !== 'heartbeat') this.sides[role].said.push(message.kind);
    this.#deliver(role, message);
    if (this.#isPuppet(role)) this.sides[role].timers.clear();
  }

  #deliver(from: Role, message: Message): void {
    const to = peerOf(from);
    if (this.#isPuppet(to)) {
      // All it does is answer heartbeats.
      if (message.kind === 'heartbeat' && to === 'secondary') {
        this.#deliver(to, { kind: 'heartbeat', clock: this.now, echo: message.clock, laidBytes: 0 });
      }
    } else if (message.kind === 'disk-compare') {
      this.#post(to, { kind: 'copy-moved' });
      this.#queue.push(() =>
        this.#say(to, { kind: 'disk-hashes', epoch: epoch(0), disk: 0, offset: 0, data: new Uint8Array(32) }),
      );
    } else if (message.kind === 'disk-hashes') {
      this.#post(to, { kind: 'copy-waits', owed: undefined });
      this.#post(to, { kind: 'disks-in-step' });
    } else {
      this.#post(to, { kind: 'frame', frame: { role: from, term: this.sides[from].core.term, message } });
    }
  }

  #do(role: Role, effect: Effect): void {
    const side = this.sides[role];
    switch (effect.kind) {
      case 'send':
        this.#say(role, effect.message);
        return;
      case 'timer':
        if (effect.at === Number.POSITIVE_INFINITY) side.timers.delete(effect.timer);
        else side.timers.set(effect.timer, effect.at);
        return;
      case 'tell':
        if ('why' in effect.notice) side.whys.push(effect.notice.why);
        return;
      case 'connect':
        this.#post(role, { kind: 'connected' });
        return;
      case 'close':
        this.#post(peerOf(role), { kind: 'closed', by: 'peer' });
        return;
      case 'write-term':
        this.#post(role, { kind: 'term-written', term: effect.term });
        return;
      case 'ask-arbiter':
        this.#post(role, { kind: 'arbiter', term: effect.term, answer: this.#term === undefined ? 'yes' : 'no' });
        this.#term ??= effect.term;
        return;
      case 'synchronise-disks':
        this.#epoch = epoch(0);
        this.#say(role, { kind: 'disk-compare', epoch: epoch(0), disk: 0, offset: 0, lengthBytes: 512 });
        this.#post(role, { kind: 'copy-waits', owed: 'disk-hashes' });
        return;
      case 'live-pass':
        this.#post(role, { kind: 'passed', epoch: effect.epoch, worthAnother: false });
        return;
      case 'capture':
        this.#say(role, { kind: 'disk-end', epoch: this.#epoch, items: 0 });
        this.#say(role, { kind: 'packets-end', epoch: this.#epoch, items: 0 });
        this.#epoch = epoch(this.#epoch + 1);
        this.#post(role, { kind: 'captured', epoch: effect.epoch, stateBytes, stoppedMs: 1 });
        return;
      case 'transmit':
        this.#say(role, { kind: 'pages-end', epoch: effect.epoch, items: 0 });
        this.#say(role, { kind: 'vmstate', epoch: effect.epoch, data: new Uint8Array(stateBytes) });
        return;
      case 'load':
        this.#post(role, { kind: 'loaded', epoch: effect.epoch });
        return;
      case 'commit-disk':
        this.#post(role, { kind: 'disk-committed', epoch: effect.epoch });
        return;
      case 'resume-guest':
        this.#post(role, { kind: 'guest-runs' });
        return;
      default:
    }
  }
}

function newSide(core: Core): Side {
  return { core, timers: new Map(), said: [], whys: [] };
}

/** Of two checkpoints, the messages of one side, and after which of them it falls silent. */
const counts = (() => {
  const whole = new Conversation('primary', Number.POSITIVE_INFINITY);
  whole.passes(2 * settings.checkpointDelayMs + 500);
  return { primary: whole.sides.primary.said, secondary: whole.sides.secondary.said };
})();

/** What the other side makes of a silence after each message in turn. */
function silences(t: Test, silent: Role): { readonly after: string; readonly other: Side; readonly puppet: Side }[] {
  return counts[silent].map((kind, index) => {
    const conversation = new Conversation(silent, index + 1);
    conversation.passes(60_000);
    t.ok(conversation.hasFallenSilent, `${silent} says ${kind}`);
    const { primary, secondary } = conversation.sides;
    const [other, puppet] = silent === 'primary' ? [secondary, primary] : [primary, secondary];
    return { after: `${kind}, its message ${index + 1}`, other, puppet };
  });
}

test('both sides say everything there is to say in two checkpoints', async (t) => {
  t.strictSame(counts.secondary, [
    ...['welcome', 'disk-hashes', 'checkpoint-ready'],
    ...['checkpoint-reply', 'vmstate-received', 'vmstate-loaded'],
    ...['checkpoint-reply', 'vmstate-received', 'vmstate-loaded'],
  ]);
  t.equal(counts.primary.filter((kind) => kind === 'vmstate-send').length, 3);
});

test('a standby that beats and falls silent after any of its messages does not keep its primary waiting', async (t) => {
  for (const { after, other } of silences(t, 'secondary')) {
    t.equal(other.core.phase, 'unprotected', `after ${after}: the guest goes on alone`);
    t.match(other.whys[0] ?? '', /^no (disk-hashes|checkpoint-\w+|vmstate-\w+) within 5000 ms$/, 'and it says why');
  }
});

test('a primary that beats and falls silent after any of its messages does not keep its standby pairing', async (t) => {
  const ends = silences(t, 'primary').map(({ after, other }) => {
    const { phase, step } = other.core;
    const isDecided = phase === 'listening' || phase === 'live' || (phase === 'protecting' && step !== 'staging');
    t.ok(isDecided, `after ${after}: ${phase}/${step}`);
    if (phase === 'listening') {
      t.match(other.whys[0] ?? '', /^nothing of the first copy came for 5000 ms$|^no [\w-]+( [\w ]+)? within 5000 ms$/);
      t.equal(other.said.at(-1), 'refusal', 'and the primary is told');
    }
    return phase;
  });
  t.same(new Set(ends), new Set(['listening', 'protecting', 'live']), 'of each there was some');
});

test('a stop of the primary that takes long is no death while it beats', async (t) => {
  const request = counts.primary.indexOf('checkpoint-request') + 1;
  const conversation = new Conversation('primary', request);
  conversation.passes(60_000);
  const { core } = conversation.sides.secondary;
  t.equal(`${core.phase}/${core.step}`, 'protecting/replied');
});

test('of what is copied only the turn of the peer is counted', async (t) => {
  const primary = new Primary({ pair: 'web', shape, term: term(1), settings });
  const timers: number[] = [];
  const on = (event: PrimaryEvent, now = 0): void => {
    for (const effect of primary.handle(event, now)) {
      if (effect.kind === 'timer' && effect.timer === 'step') timers.push(effect.at);
    }
  };
  on({ kind: 'command', command: { name: 'protect' } });
  on({ kind: 'connected' });
  on({ kind: 'frame', frame: { role: 'secondary', term: term(1), message: { kind: 'welcome', shape } } });
  t.equal(timers.at(-1), Number.POSITIVE_INFINITY);
  on({ kind: 'copy-waits', owed: 'disk-hashes' }, 100);
  t.equal(timers.at(-1), 100 + settings.stepMs);
  on({ kind: 'copy-waits', owed: undefined }, 200);
  t.equal(timers.at(-1), Number.POSITIVE_INFINITY);
});

import { closeSync, mkdirSync, readSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { openDiskFile } from '../../../../../src/block/disk-file.ts';
import type { SecondaryConfig } from '../../../../../src/colo/command/pair-config.ts';
import { dial } from '../../../../../src/colo/link/dial.ts';
import type { PeerLink } from '../../../../../src/colo/link/peer-link.ts';
import { type Message, protocolVersion } from '../../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../../src/colo/protocol/numbers.ts';
import type { Handlers } from '../../../../../src/colo/side/calls.ts';
import type { Heritage } from '../../../../../src/colo/side/heritage.ts';
import type { SecondaryMachineCalls } from '../../../../../src/colo/side/machine-calls.ts';
import { SecondaryHost } from '../../../../../src/colo/side/secondary/secondary-host.ts';
import { SignsOfLife } from '../../../../../src/colo/side/signs-of-life.ts';
import { TermStore } from '../../../../../src/colo/side/term-store.ts';
import type { DeviceOrder } from '../../../../../src/vmm/io/device-orders.ts';
import { namelessFile } from '../../../../support/nameless-file.ts';
import { temporaryFolder } from '../../../../support/vmm-process.ts';
import { smallEtcd } from '../etcd-rig.ts';
import {
  askAgainMs,
  birth,
  FakeMachineThread,
  freePort,
  listener,
  Received,
  shape,
  someRam,
  someState,
  until,
} from '../host-rig.ts';
import { heritage, primary } from '../meeting-rig.ts';

/** A standby, and what a primary would do to it. */
async function standby(
  t: Test,
  handlers: Partial<Handlers<SecondaryMachineCalls>>,
  more: Partial<Pick<SecondaryConfig, 'arbiter' | 'peers'>> = {},
) {
  const memory = someRam(t);
  const machine = new FakeMachineThread<SecondaryMachineCalls>(t, {
    shape: () => shape,
    make: () => ({ memory, devices: [], io: undefined }),
    revive: () => ({ loadMs: 0, movedMs: 0 }),
    ...handlers,
  });
  let leapMs = 0;
  let pairings = 0;
  const protections: boolean[] = [];
  const config = {
    ...birth(t),
    now: () => performance.now() + leapMs,
    listen: { host: '127.0.0.1', port: 0 },
    ...more,
  };
  const host = new SecondaryHost(
    config,
    { calls: machine.calls, shape, signs: new SignsOfLife(), again: () => {} },
    { ...listener(t), pairs: () => void pairings++, protects: (compares) => void protections.push(compares) },
  );
  t.teardown(() => host.close());
  const port = await host.start();
  const greet = async (otherwise: object = {}, inTerm = 0) => {
    const link = await dial({
      host: '127.0.0.1',
      port,
      security: config.security,
      role: 'primary',
      patienceMs: 20_000,
    });
    t.teardown(() => link.destroy());
    const received = new Received();
    link.listen({ received: (frame) => received.take(frame), drained: () => {}, ended: () => {} });
    const { detectMs, arbiter } = config.settings;
    const hello = {
      kind: 'hello',
      version: protocolVersion,
      pair: 'web',
      shape,
      detectMs,
      arbiter,
      comparing: 0,
    } as const;
    sayIn(inTerm, link, { ...hello, ...otherwise });
    return { link, received };
  };
  const connect = async () => {
    const greeted = await greet();
    await until(() => greeted.received.kinds.includes('welcome'));
    return greeted;
  };
  /** Holds a first checkpoint of a primary that counts on it. */
  const protecting = async () => {
    const connected = await connect();
    seed(connected.link);
    await until(() => connected.received.kinds.includes('checkpoint-ready'));
    say(connected.link, { kind: 'protected' });
    await until(() => host.status().phase === 'protecting');
    return connected;
  };
  /** Time passes of which nobody has told the host yet. */
  const leap = (ms: number): void => {
    leapMs += ms;
  };
  return {
    host,
    machine,
    greet,
    connect,
    protecting,
    leap,
    pairings: () => pairings,
    protections,
    stateDirectory: config.stateDirectory,
  };
}

function say(link: PeerLink, ...messages: readonly Message[]): void {
  sayIn(0, link, ...messages);
}

function sayIn(inTerm: number, link: PeerLink, ...messages: readonly Message[]): void {
  for (const message of messages) link.send({ role: 'primary', term: term(inTerm), message });
}

/** What the next process would find. */
function onDisk(stateDirectory: string): { readonly term: number; readonly isElsewhere: boolean } {
  const { term, isElsewhere } = new TermStore(stateDirectory);
  return { term, isElsewhere };
}

/** All of the first checkpoint. @param changes of disks that were sent before */
function seed(link: PeerLink, inTerm = 0, changes = 0): void {
  const first = epoch(0);
  const state = someState();
  sayIn(
    inTerm,
    link,
    { kind: 'disk-end', epoch: first, items: changes },
    { kind: 'packets-end', epoch: first, items: 0 },
    { kind: 'vmstate-send', epoch: first, comparing: 0 },
    { kind: 'pages-end', epoch: first, items: 0 },
    { kind: 'vmstate', epoch: first, data: state },
    { kind: 'vmstate-size', epoch: first, value: state.length },
  );
}

test('a takeover: the state, the announcement, packets, and then the guest', async (t) => {
  const { host, machine, protecting, pairings, protections } = await standby(t, {});
  t.equal(pairings(), 0);
  const { link } = await protecting();
  t.equal(pairings(), 1);
  t.strictSame(protections, [false], 'its guest does not run');
  link.destroy();
  await until(() => host.status().phase === 'claiming');
  t.equal(host.command({ name: 'failover', sure: false }), undefined);
  await until(() => machine.called.includes('succeed'));
  t.strictSame(
    machine.called.filter((name) => name !== 'coloExit'),
    ['shape', 'make', 'rehearse', 'announce', 'revive', 'emerge', 'replay', 'resume', 'succeed'],
  );
});

test("a silence in parts: the peer's loss, the end of its consent, the arbiter, the takeover, and the guest that speaks", async (t) => {
  let left: Heritage | undefined;
  const { host, machine, connect, leap } = await standby(t, {
    succeed: ({ heritage }) => {
      left = heritage;
      return undefined;
    },
  });
  const { link, received } = await connect();
  seed(link);
  await until(() => received.kinds.includes('checkpoint-ready'));
  say(link, { kind: 'heartbeat', clock: 1, echo: Number.NaN, laidBytes: 0 }, { kind: 'protected' });
  await until(() => host.status().phase === 'protecting');
  const before = host.log.recent(false).length;
  leap(60_000);
  host.command({ name: 'failover', sure: false });
  await until(() => machine.called.includes('succeed'));
  const events = host.log.recent(false).slice(before);
  t.strictSame([...new Set(events.map(({ topic }) => topic))], ['peer', 'consent', 'arbiter', 'takeover', 'speaking']);
  t.strictSame(
    events.filter(({ topic }) => topic === 'consent').map(({ text }) => text),
    ['of 127.0.0.1 ran out'],
  );
  const { takeover } = host.status();
  t.equal(takeover?.sentAgain, 0);
  t.ok((takeover?.silenceMs ?? 0) >= 60_000, 'since the last heartbeat');
  t.strictSame(left?.takeover, takeover, 'the primary that its process is from then on says so as well');
});

for (const [what, primarysTerm] of [
  ['in a new term', 3],
  ['once more in its term', 0],
] as const) {
  test(`a standby that pairs ${what} writes down that the guest is its primary's, until it takes over`, async (t) => {
    const { host, machine, greet, stateDirectory } = await standby(t, {});
    const { link, received } = await greet({}, primarysTerm);
    await until(() => received.kinds.includes('welcome'));
    await until(() => new TermStore(stateDirectory).isElsewhere);
    t.equal(new TermStore(stateDirectory).term, primarysTerm);
    seed(link, primarysTerm);
    await until(() => received.kinds.includes('checkpoint-ready'));
    sayIn(primarysTerm, link, { kind: 'protected' });
    await until(() => host.status().phase === 'protecting');
    link.destroy();
    await until(() => host.status().phase === 'claiming');
    host.command({ name: 'failover', sure: false });
    await until(() => machine.called.includes('succeed'));
    t.match(new TermStore(stateDirectory), { term: primarysTerm + 1, isElsewhere: false });
  });
}

test('a primary of another version reads why it is refused, whatever else it says', async (t) => {
  const { greet } = await standby(t, {});
  for (const otherwise of [
    { version: protocolVersion + 1, colour: 'red' },
    { version: protocolVersion - 1, shape: { processors: 'many' }, comparing: undefined },
  ]) {
    const { received } = await greet(otherwise);
    await until(() => received.kinds.includes('refusal'));
    const reason = `it speaks version ${protocolVersion} of the protocol, not ${otherwise.version}: run the same colo-vmm on both`;
    t.match(received.messages, [{ kind: 'refusal', reason }]);
  }
});

test('each primary that comes is measured by what the machine could be then', async (t) => {
  let now = { ...shape, memoryBytes: shape.memoryBytes - 4096 };
  const { greet } = await standby(t, {
    shape: () => {
      if (now.memoryBytes === 0) throw new Error('disk web.img is in use by qemu');
      return now;
    },
  });
  const answer = async (): Promise<Message | undefined> => {
    const { link, received } = await greet();
    await until(() => received.kinds.length > 0);
    link.destroy();
    return received.messages[0];
  };
  t.match(await answer(), { kind: 'refusal', reason: /Free memory there/ });
  now = { ...now, memoryBytes: 0 };
  t.match(await answer(), { kind: 'refusal', reason: /cannot be made there: disk web.img is in use by qemu/ });
  now = shape;
  t.match(await answer(), { kind: 'welcome', shape });
});

test('while a takeover is under way it says so, and nobody is told that it is over before the guest runs', async (t) => {
  let revive: () => void = () => {};
  const { host, machine, protecting } = await standby(t, {
    revive: () =>
      new Promise((resolve) => {
        revive = () => resolve({ loadMs: 0, movedMs: 0 });
      }),
  });
  const { link } = await protecting();
  link.destroy();
  await until(() => host.status().phase === 'claiming');
  host.command({ name: 'failover', sure: false });
  await until(() => machine.called.includes('revive'));
  const under = host.status();
  t.match(under, { headline: 'TAKEOVER', why: /was lost/, next: /then the guest runs here/ });
  t.equal(under.survivor, undefined);
  t.notOk(under.milestones?.failover, 'no hook says that this side goes on');
  revive();
  await until(() => machine.called.includes('succeed'));
  t.match(host.status(), { headline: 'UNPROTECTED', survivor: true, milestones: { failover: 1 } });
});

test('what the guest boots is kept before the first checkpoint is loaded, and one without all of it is not', async (t) => {
  const kernel = { name: 'vmlinuz', sizeBytes: 5000 };
  const begin: Message = { kind: 'boot-begin', kernel, commandLine: 'quiet', kaslr: false };
  const fd = namelessFile(t, 0);
  const keeping = { keepBoot: () => ({ kernel: { name: 'vmlinuz', fd }, commandLine: 'quiet' }) };
  const whole = await standby(t, keeping);
  const { link, received } = await whole.connect();
  say(link, begin, { kind: 'boot-bytes', data: new Uint8Array(3000).fill(1) });
  say(link, { kind: 'boot-bytes', data: new Uint8Array(2000).fill(2) });
  seed(link);
  await until(() => received.kinds.includes('checkpoint-ready'));
  t.strictSame(whole.machine.called.slice(0, 4), ['shape', 'make', 'keepBoot', 'rehearse']);
  const bytes = new Uint8Array(5001);
  t.equal(readSync(fd, bytes, 0, 5001, 0), 5000);
  t.strictSame([bytes[0], bytes[2999], bytes[3000], bytes[4999]], [1, 1, 2, 2]);

  const part = await standby(t, keeping);
  const cut = await part.connect();
  say(cut.link, begin, { kind: 'boot-bytes', data: new Uint8Array(4999) });
  seed(cut.link);
  await until(() => part.host.status().phase !== 'seeding');
  t.notOk(cut.received.kinds.includes('checkpoint-ready'));
  t.match(part.host.status().why, /after 4999 of 5000 bytes that its guest boots/);
});

test('a guest that is handed over runs here without anybody being asked, in a term that is on disk', async (t) => {
  const { host, machine, connect, stateDirectory } = await standby(t, {});
  const { link, received } = await connect();
  seed(link);
  await until(() => received.kinds.includes('checkpoint-ready'));
  say(link, { kind: 'protected' }, { kind: 'handover', epoch: epoch(0) });
  await until(() => received.kinds.includes('handover-ready'));
  t.notOk(machine.called.includes('revive'), 'nothing is said before the primary is silent');
  t.match(onDisk(stateDirectory), { term: 1, isElsewhere: true }, "the guest is its primary's still");
  say(link, { kind: 'handover-done', epoch: epoch(0) });
  await until(() => machine.called.includes('succeed'));
  t.match(host.status(), { headline: 'UNPROTECTED', term: 1, why: /handed the guest over/ });
  await until(() => !onDisk(stateDirectory).isElsewhere);
  t.equal(onDisk(stateDirectory).term, 1);
});

test('a standby that is ready for a guest which it does not get runs none when it is started: its primary may, in that term', async (t) => {
  const { host, connect, stateDirectory } = await standby(t, {});
  const { link, received } = await connect();
  seed(link);
  await until(() => received.kinds.includes('checkpoint-ready'));
  say(link, { kind: 'protected' }, { kind: 'handover', epoch: epoch(0) });
  await until(() => received.kinds.includes('handover-ready'));
  link.destroy();
  await until(() => host.status().phase === 'claiming');
  await host.close();
  t.match(onDisk(stateDirectory), { term: 1, isElsewhere: true });
});

test('a guest whose primary has a broken disk runs here without anybody being asked, in a term that is on disk', async (t) => {
  const { host, machine, connect, stateDirectory } = await standby(t, {});
  const { link, received } = await connect();
  seed(link);
  await until(() => received.kinds.includes('checkpoint-ready'));
  say(link, { kind: 'protected' }, { kind: 'take-over', why: 'disk root cannot be written: EIO' });
  await until(() => machine.called.includes('succeed'));
  t.equal(new TermStore(stateDirectory).term, 1);
  t.match(host.status(), { term: 1, why: /was lost: its disk failed: disk root cannot be written: EIO/ });
});

test('a takeover that fails at its state runs nothing: the machine may hold an older one', async (t) => {
  const { host, machine, protecting } = await standby(t, {
    revive: () => {
      throw new Error('a device refuses its state');
    },
  });
  const { link } = await protecting();
  link.destroy();
  await until(() => host.status().phase === 'claiming');
  host.command({ name: 'failover', sure: false });
  await until(() => machine.called.includes('exit') || machine.called.includes('resume'));
  t.strictSame(
    machine.called.filter((name) => name !== 'coloExit'),
    ['shape', 'make', 'rehearse', 'announce', 'revive', 'exit'],
    'it ends, and neither runs nor sends what was kept',
  );
  t.match(host.status().why, 'a device refuses its state');
  t.match(host.status().milestones, { 'peer-lost': 1, fenced: 1 }, 'programs are told that nobody runs the guest');
});

test('a standby whose disk fails while a primary counts on it tells programs both: that, and what it is now', async (t) => {
  const { host, protecting } = await standby(t, {});
  const { link, received } = await protecting();
  host.diskFailed('disk root cannot be written: EIO', true);
  await until(() => received.kinds.includes('end'));
  say(link, { kind: 'ended' });
  await until(() => host.status().phase === 'failed');
  const told = host.log.recent(false).filter(({ event }) => event !== undefined);
  const why = 'its disk failed: disk root cannot be written: EIO';
  t.match(told, [
    { event: 'protected' },
    { event: 'disk-error' },
    { event: 'unprotected', text: /^\S+ is not protected any more: its disk failed: / },
    { event: 'fenced', text: `this standby cannot take over any more: ${why}` },
  ]);
  t.equal(told.length, 4);
  t.match(host.status(), { headline: 'ENDED', why });
});

test('what becomes of a checkpoint whose primary is gone does not count against the standby', async (t) => {
  let refuse: (error: Error) => void = () => {};
  const { host, machine, connect } = await standby(t, {
    rehearse: () =>
      new Promise((_resolve, reject) => {
        refuse = reject;
      }),
  });
  const { link } = await connect();
  seed(link);
  await until(() => machine.called.includes('rehearse'));
  link.destroy();
  await until(() => host.status().phase === 'listening');
  refuse(new Error('the machine is gone'));
  await until(() => machine.called.includes('discard'));
  t.equal(host.status().phase, 'listening');
  await connect();
  t.equal(host.status().phase, 'seeding', 'the next primary is served');
});

test('a machine that cannot be made for a primary that has gone is no refusal of the next one', async (t) => {
  const memory = someRam(t);
  let giveUp: ((error: Error) => void) | undefined;
  let made = 0;
  const { host, greet } = await standby(t, {
    make: () => {
      if (made++ > 0) return { memory, devices: [], io: undefined };
      return new Promise((_, reject) => {
        giveUp = reject;
      });
    },
  });
  const first = await greet();
  await until(() => giveUp !== undefined);
  first.link.destroy();
  await until(() => host.status().link === undefined);
  const second = await greet();
  await until(() => host.status().link !== undefined);
  giveUp?.(new Error('no memory'));
  await until(() => second.received.kinds.length > 0);
  t.equal(second.received.kinds[0], 'welcome');
});

/** A folder where a file is written now and then. */
function isMade(folder: string): boolean {
  try {
    mkdirSync(folder);
    return true;
  } catch {
    return false;
  }
}

test('a term for which there is no room is said to be so once, and written when there is', async (t) => {
  const { host, machine, protecting, stateDirectory } = await standby(t, {});
  const { link } = await protecting();
  link.destroy();
  await until(() => host.status().phase === 'claiming');
  const inTheWay = join(stateDirectory, 'term.json.new');
  await until(() => isMade(inTheWay));
  const events = host.log.recent.bind(host.log);
  host.command({ name: 'failover', sure: false });
  const said = () => events(false).filter(({ text }) => text.includes('the term cannot be written')).length;
  await until(() => said() > 0);
  t.match(host.status().next, /^make it possible to write .*term\.json/);
  // The alarm that tries again has rung a few times.
  await new Promise((resolve) => setTimeout(resolve, 20 * askAgainMs));
  rmdirSync(inTheWay);
  await until(() => machine.called.includes('succeed'));
  t.equal(said(), 1);
});

test('a standby that could not write a term down leaves the arbiter to its primary', async (t) => {
  const { host, machine, protecting, stateDirectory } = await standby(t, {});
  const { link } = await protecting();
  const inTheWay = join(stateDirectory, 'term.json.new');
  await until(() => isMade(inTheWay));
  const said = (words: string) => host.log.recent(false).some(({ text }) => text.includes(words));
  link.destroy();
  await until(() => said('the term cannot be written'));
  await new Promise((resolve) => setTimeout(resolve, 5 * askAgainMs));
  t.notOk(said('the arbiter is asked'));
  rmdirSync(inTheWay);
  await until(() => said('the arbiter is asked'));
  host.command({ name: 'failover', sure: false });
  await until(() => machine.called.includes('succeed'));
});

test('a standby that fails before it knows that it can write a term down leaves the arbiter to its primary', async (t) => {
  const { host, protecting } = await standby(t, {});
  const { link } = await protecting();
  let isProven = (): void => {};
  const proven = new Promise<void>((resolve) => {
    isProven = resolve;
  });
  let proofs = 0;
  const { prove } = TermStore.prototype;
  TermStore.prototype.prove = () => {
    proofs++;
    return proven;
  };
  t.teardown(() => {
    TermStore.prototype.prove = prove;
  });
  link.destroy();
  await until(() => proofs > 0);
  host.diskFailed('its disk is gone', true);
  t.equal(host.status().phase, 'failed');
  isProven();
  await new Promise(setImmediate);
  t.notOk(host.log.recent(false).some(({ text }) => text.includes('the arbiter is asked')));
});

test("a standby that takes over by an operator's word tells the arbiter at once, which then says no to its primary", async (t) => {
  const etcd = await smallEtcd(t);
  const arbiter = { kind: 'etcd', etcd: { endpoints: [etcd.url], prefix: '/' } } as const;
  const { host, protecting } = await standby(t, { revive: () => new Promise(() => {}) }, { arbiter });
  const { link } = await protecting();
  etcd.isDown(true);
  link.destroy();
  await until(() => host.status().phase === 'claiming');
  t.equal(host.command({ name: 'failover', sure: true }), undefined);
  await until(() => host.status().phase === 'going-live');
  // Claims of before have failed by then.
  await new Promise((resolve) => setTimeout(resolve, 100));
  etcd.isDown(false);
  await etcd.knows(1);
  t.match(etcd.known(), { holder: 'test' });
});

/** A standby that its primary counted on, whose link is gone, and whose arbiter is an operator. */
async function cutOff(t: Test, more: Partial<Pick<SecondaryConfig, 'peers'>> = {}) {
  const made = await standby(t, {}, more);
  const { link } = await made.protecting();
  link.destroy();
  await until(() => made.host.status().phase === 'claiming');
  return made;
}

const refusalOf = ({ messages }: Received): Message | undefined => messages.find(({ kind }) => kind === 'refusal');

const fencedBy = (host: SecondaryHost): string | undefined =>
  host.log.recent(false).find(({ event }) => event === 'fenced')?.text;

test('a standby that was only cut off, and waits for an operator, hears from its primary that this one goes on', async (t) => {
  const { host, greet } = await cutOff(t);
  const same = await greet();
  await until(() => refusalOf(same.received) !== undefined);
  t.match(refusalOf(same.received), { reason: 'it has lost 127.0.0.1, and waits to hear who goes on' });
  const other = await greet({ pair: 'mail' }, 1);
  const older = await greet({ version: protocolVersion + 1 }, 1);
  await until(() => refusalOf(other.received) !== undefined && refusalOf(older.received) !== undefined);
  t.match(host.status(), { headline: 'WAITING', next: /^make sure that 127\.0\.0\.1 is off/ });
  const later = await greet({}, 1);
  await until(() => refusalOf(later.received) !== undefined);
  t.match(refusalOf(later.received), { reason: 'it was given up, and stands by again once its host is well' });
  t.match(host.status(), {
    headline: 'FENCED',
    why: 'the primary went on alone',
    next: /^nothing: it stands by again in/,
  });
  t.equal(fencedBy(host), 'the primary goes on without it, in term 1');
});

test('a caller that says nothing keeps no other one from being turned away, nor a standby from being closed', async (t) => {
  const { host, greet } = await cutOff(t);
  const port = Number(host.status().address?.split(':').at(-1));
  const security = { kind: 'plaintext' } as const;
  const silent = await dial({ host: '127.0.0.1', port, security, role: 'primary', patienceMs: 20_000 });
  t.teardown(() => silent.destroy());
  let isGone = false;
  silent.listen({ received: () => {}, drained: () => {}, ended: () => (isGone = true) });
  const second = await greet({}, 1);
  await until(() => refusalOf(second.received) !== undefined);
  t.equal(host.status().headline, 'WAITING');
  silent.destroy();
  t.notOk(isGone);
  const third = await greet({}, 0);
  await until(() => refusalOf(third.received) !== undefined);
  const mute = await dial({ host: '127.0.0.1', port, security, role: 'primary', patienceMs: 20_000 });
  t.teardown(() => mute.destroy());
  const ended = new Promise((resolve) => mute.listen({ received: () => {}, drained: () => {}, ended: resolve }));
  await until(() => host.status().phase === 'claiming');
  await host.close();
  await ended;
});

test('a standby that was only cut off finds its primary where that waits for standbys, and hears that it goes on', async (t) => {
  const at = { host: '127.0.0.1', port: await freePort() };
  const { host } = await cutOff(t, { peers: [at] });
  await primary(t, { listen: at }, { term: 1, heritage });
  await until(() => host.status().headline === 'FENCED');
  t.equal(fencedBy(host), 'the primary goes on without it, in term 1');
});

test('a standby that waits for an operator has proved that a term can be written, and does not do so all the time', async (t) => {
  const { host, stateDirectory } = await cutOff(t);
  const file = (): number => statSync(join(stateDirectory, 'term.json')).ino;
  // Each time it is another file.
  await new Promise((resolve) => setTimeout(resolve, 20 * askAgainMs));
  const before = file();
  await new Promise((resolve) => setTimeout(resolve, 20 * askAgainMs));
  t.equal(file(), before);
  t.equal(host.command({ name: 'failover', sure: false }), undefined);
  await until(() => host.status().phase === 'live');
  t.strictSame(onDisk(stateDirectory), { term: 1, isElsewhere: false });
});

test('a standby that has failed tells who comes next that it has, not that it is busy', async (t) => {
  const { host, greet, connect } = await standby(t, {
    rehearse: () => {
      throw new Error('a device refuses its state');
    },
  });
  const { link, received } = await connect();
  seed(link);
  await until(() => received.kinds.includes('refusal'));
  link.destroy();
  await until(() => host.status().phase === 'failed');
  t.strictSame(host.status().milestones, { fenced: 1 }, 'nobody had counted on it');
  const { received: answers } = await greet();
  await until(() => answers.kinds.includes('refusal'));
  t.match(
    answers.messages.find(({ kind }) => kind === 'refusal'),
    { reason: /^it stands by for nobody any more \(.*a device refuses its state\): end it, and start it again$/ },
  );
});

test('a primary whose standby cannot load a later checkpoint reads why, before the connection is closed', async (t) => {
  const { host, protecting } = await standby(t, {});
  const { link, received } = await protecting();
  host.post({ kind: 'load-failed', epoch: epoch(1), reason: 'out of memory' });
  await until(() => received.kinds.includes('end'));
  const why = 'checkpoint 1 cannot be loaded: out of memory';
  t.match(
    received.messages.find(({ kind }) => kind === 'end'),
    { reason: 'error', why },
  );
  t.match(host.status(), { phase: 'leaving', why }, 'a closed connection would have its primary ask an arbiter');
  say(link, { kind: 'ended' });
  await until(() => host.status().phase === 'failed');
  t.match(host.status(), { headline: 'ENDED', why });
  t.match(host.status().milestones, { unprotected: 1, fenced: 1 });
});

test('a standby whose primary could not wait for the last checkpoint says which its disks are of, and ends', async (t) => {
  const { host, machine, connect } = await standby(t, {});
  const { link, received } = await connect();
  seed(link);
  await until(() => received.kinds.includes('checkpoint-ready'));
  say(
    link,
    { kind: 'protected' },
    { kind: 'end', reason: 'power-off', exitCode: 0, why: 'its last checkpoint took too long' },
  );
  await until(() => received.kinds.includes('ended') && machine.called.includes('exit'));
  t.match(host.log.recent(false).at(-1), { text: /these disks are of epoch 0, older than 127\.0\.0\.1's$/ });
});

test('a standby that was frozen does not say that it protects a primary which may have gone on alone', async (t) => {
  const { host, connect, leap } = await standby(t, {});
  const { link, received } = await connect();
  say(link, { kind: 'heartbeat', clock: 0, echo: Number.NaN, laidBytes: 0 });
  seed(link);
  await until(() => received.kinds.includes('checkpoint-ready'));
  say(link, { kind: 'protected' });
  await until(() => host.status().headline === 'PROTECTING');
  leap(31_000);
  t.match(host.status(), { headline: 'WAITING', phase: 'protecting', why: /is silent, and may have gone on alone/ });
});

test('a standby says how long its guest took to load: as long as a failover would', async (t) => {
  const { host, connect } = await standby(t, { rehearse: () => 4.5 });
  const { link, received } = await connect();
  seed(link);
  await until(() => received.kinds.includes('checkpoint-ready'));
  t.equal(host.status().failover, undefined, 'nobody counts on it yet');
  say(link, { kind: 'protected' });
  await until(() => host.status().headline === 'PROTECTING');
  t.match(host.status().failover, { detectionMs: 30_000, loadMs: 4.5 });
});

test('a standby whose disks are made equal says how far that is, until it has a checkpoint', async (t) => {
  const path = join(temporaryFolder(t), 'disk');
  writeFileSync(path, Buffer.alloc(1 << 20));
  const file = openDiskFile(path);
  t.teardown(() => closeSync(file.fd));
  const memory = someRam(t);
  const devices = [{ device: { kind: 'disk', id: 'root', file } }] as unknown as readonly DeviceOrder[];
  const { host, connect } = await standby(t, { make: () => ({ memory, devices, io: undefined }) });
  const { link, received } = await connect();
  t.match(host.status(), { headline: 'PAIRING', disk: { copying: { comparedBytes: 0, receivedBytes: 0 } } });
  const first = { epoch: epoch(0), disk: 0 };
  say(
    link,
    { kind: 'disk-compare', ...first, offset: 0, lengthBytes: 512 * 1024 },
    { kind: 'disk-write', ...first, offset: 4096, data: new Uint8Array(8192).fill(1) },
  );
  await until(() => received.kinds.includes('disk-hashes') && host.status().disk?.copying?.receivedBytes !== 0);
  t.strictSame(host.status().disk?.copying, { comparedBytes: 512 * 1024, receivedBytes: 8192 });
  seed(link, 0, 1);
  await until(() => received.kinds.includes('checkpoint-ready'));
  t.equal(host.status().disk?.copying, undefined);
});

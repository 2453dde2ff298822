import { mkdirSync, rmdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { mock } from 'node:test';
import { type Test, test } from 'tap';
import { DiskRingControl } from '../../../../../src/block/replicated/disk-ring.ts';
import type { PrimaryConfig } from '../../../../../src/colo/command/pair-config.ts';
import type { PeerLink } from '../../../../../src/colo/link/peer-link.ts';
import { PeerListener } from '../../../../../src/colo/link/peer-listener.ts';
import { streamOf } from '../../../../../src/colo/protocol/message-table.ts';
import type { Message } from '../../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../../src/colo/protocol/numbers.ts';
import { ArbiterDesk } from '../../../../../src/colo/side/arbiter-desk.ts';
import type { Handlers } from '../../../../../src/colo/side/calls.ts';
import type { PrimaryPast } from '../../../../../src/colo/side/heritage.ts';
import type { PrimaryMachineCalls } from '../../../../../src/colo/side/machine-calls.ts';
import { PrimaryHost } from '../../../../../src/colo/side/primary/primary-host.ts';
import { SignsOfLife } from '../../../../../src/colo/side/signs-of-life.ts';
import { TermStore } from '../../../../../src/colo/side/term-store.ts';
import { EIO } from '../../../../../src/host/errno.ts';
import { Doorbell } from '../../../../../src/host/threads/doorbell.ts';
import { RecordProducer } from '../../../../../src/host/threads/record-ring.ts';
import type { BootDescriptors } from '../../../../../src/vmm/machine/machine-shape.ts';
import { kindOfCard } from '../../../../../src/vmm/platform/packet-rings.ts';
import type { SharedProtection } from '../../../../../src/vmm/platform/shared-protection.ts';
import { namelessFile } from '../../../../support/nameless-file.ts';
import { smallEtcd } from '../etcd-rig.ts';
import { birth, captured, FakeMachineThread, listener, noPages, Received, shape, someRam, until } from '../host-rig.ts';

/** Whoever a primary meets: each link, and what came on it. */
interface Met {
  readonly link: PeerLink;
  readonly received: Received;
}

/** A primary, and what a standby would do to it. */
async function primary(
  t: Test,
  handlers: Partial<Handlers<PrimaryMachineCalls>>,
  more: Partial<Pick<PrimaryConfig, 'flows' | 'insists' | 'arbiter'>> = {},
  boot?: BootDescriptors,
  past: PrimaryPast = {},
) {
  const met: Met[] = [];
  const shared: SharedProtection[] = [];
  const ram = someRam(t);
  const machine = new FakeMachineThread<PrimaryMachineCalls>(t, {
    attach: (given) => {
      shared.push(given);
      return { memory: noPages, devices: [], io: undefined, vcpus: [] };
    },
    collect: () => ({ marked: 0, ram }),
    ...handlers,
  });
  const bell = new Doorbell();
  t.teardown(() => bell.close());
  let leapMs = 0;
  const config = { ...birth(t), now: () => performance.now() + leapMs };
  const standby = await PeerListener.start({
    host: '127.0.0.1',
    port: 0,
    security: config.security,
    role: 'secondary',
    patienceMs: 20_000,
    refused: (reason) => t.fail(reason),
    linked: (link) => {
      const received = new Received();
      link.listen({ received: (frame) => received.take(frame), drained: () => {}, ended: () => {} });
      met.push({ link, received });
      t.teardown(() => link.destroy());
    },
  });
  t.teardown(() => standby.close());
  const host = new PrimaryHost(
    { ...config, standby: { host: '127.0.0.1', port: standby.port }, insists: false, ...more },
    {
      calls: machine.calls,
      bell: bell.button,
      shape,
      disks: [],
      signs: new SignsOfLife(),
      boot,
      letGoAgainMs: 20,
      ...past,
    },
    listener(t),
  );
  t.teardown(() => host.close());
  /** Says hello, and is welcome. */
  const pair = async (): Promise<Met> => {
    const count = met.length;
    await until(() => met[count]?.received.kinds.includes('hello') ?? false);
    const found = met[count] as Met;
    say(found.link, { kind: 'welcome', shape });
    return found;
  };
  /** Time passes of which nobody has told the host yet. */
  const leap = (ms: number): void => {
    leapMs += ms;
  };
  return { host, machine, shared, standby, met, pair, leap, stateDirectory: config.stateDirectory };
}

function say(link: PeerLink, ...messages: readonly Message[]): void {
  for (const message of messages) link.send({ role: 'secondary', term: term(0), message });
}

test('what is left of a pairing says nothing to the standby of the next one', async (t) => {
  let release: () => void = () => {};
  const { host, machine, shared, pair } = await primary(t, {
    capture: () =>
      new Promise((_resolve, reject) => {
        release = () => reject(new Error('the machine is busy'));
      }),
  });
  host.start();
  const first = await pair();
  await until(() => machine.called.includes('capture'));
  first.link.destroy();
  await until(() => host.status().phase === 'unprotected');
  host.command({ name: 'protect' });
  const second = await pair();
  await until(() => host.status().phase === 'synchronising');
  // The guest's output of before: the machine is not detached yet, for its thread is busy.
  const { packets } = shared[0] as SharedProtection;
  const outbox = new RecordProducer(packets.outbox, () => {});
  outbox.reserve(64);
  outbox.commit(0, 0);
  host.rang();
  say(second.link, { kind: 'refusal', reason: 'it was enough' });
  await until(() => host.status().phase === 'unprotected');
  t.strictSame(second.received.kinds, ['hello']);
  release();
});

test('a standby of another version says why it refuses, whatever else it says', async (t) => {
  const { host, met } = await primary(t, {});
  host.start();
  await until(() => met[0]?.received.kinds.includes('hello') ?? false);
  const refusal = { kind: 'refusal', reason: 'it speaks version 99 of the protocol', colour: 'red' } as const;
  say((met[0] as Met).link, refusal);
  await until(() => host.status().why.includes('99'));
  t.equal(host.status().why, 'the standby cannot take over this machine: it speaks version 99 of the protocol');
});

test('the standby has all that the guest boots before the pages of a first checkpoint end', async (t) => {
  const fd = namelessFile(t, 0);
  const bytes = new Uint8Array(600_000).map((_, index) => index >> 8);
  writeSync(fd, bytes);
  const { host, pair } = await primary(
    t,
    { capture: captured },
    {},
    { kernel: { name: 'vmlinuz', fd }, commandLine: 'quiet' },
  );
  host.start();
  const { received } = await pair();
  await until(() => received.kinds.includes('pages-end'));
  const { messages } = received;
  const ofPages = messages.filter(({ kind }) => streamOf(kind) === 'pages');
  t.strictSame(ofPages[0], {
    ...{ kind: 'boot-begin', kernel: { name: 'vmlinuz', sizeBytes: 600_000 }, commandLine: 'quiet', kaslr: false },
  });
  const pieces = messages.flatMap((message) => (message.kind === 'boot-bytes' ? [message.data] : []));
  t.ok(Buffer.concat(pieces).equals(bytes));
  t.ok(
    ofPages.findLastIndex(({ kind }) => kind === 'boot-bytes') < ofPages.findIndex(({ kind }) => kind === 'pages-end'),
  );
});

test('ports whose output leaves unseen are unsafe: the log says so once each, and the status as long as that is so', async (t) => {
  const { host } = await primary(
    t,
    {},
    {
      flows: [
        { port: 443, policy: 'buffer' },
        { port: 514, policy: 'pass' },
        { port: 515, policy: 'pass' },
      ],
    },
  );
  host.start();
  const said = host.log
    .recent(false)
    .map(({ text }) => text)
    .filter((text) => text.startsWith('UNSAFE'));
  t.strictSame(said, [
    'UNSAFE: output of port 514 leaves unseen (--flow port=514,policy=pass)',
    'UNSAFE: output of port 515 leaves unseen (--flow port=515,policy=pass)',
  ]);
  t.strictSame(host.status().flows, [
    { port: 443, policy: 'buffer' },
    { port: 514, policy: 'pass', unsafe: true },
    { port: 515, policy: 'pass', unsafe: true },
  ]);
});

test('a machine that waits no longer for the last checkpoint of its guest has its standby end without it, and then ends', async (t) => {
  const { host, machine, pair } = await primary(t, { capture: captured });
  host.start();
  const { link, received } = await pair();
  await until(() => received.kinds.includes('vmstate-size'));
  say(link, { kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => host.status().phase === 'protected');
  host.post({ kind: 'guest-ended', exitCode: 3 });
  await until(() => received.kinds.filter((kind) => kind === 'vmstate-size').length === 2);
  t.notOk(received.kinds.includes('end'), 'the standby is loading it');
  host.post({ kind: 'end-overdue' });
  await until(() => received.kinds.includes('end'));
  t.match(received.messages.at(-1), { kind: 'end', reason: 'power-off', exitCode: 3 });
  t.match(host.log.recent(false).at(-1), {
    text: /has ended, .* 127\.0\.0\.1 ends without it, with disks that are older/,
  });
  t.notOk(machine.called.includes('exit'));
  say(link, { kind: 'ended' });
  await until(() => machine.called.includes('exit'));
});

/** A primary whose standby is ready for its guest. @param hold pauses that, given what it gets packets by */
async function handsOver(t: Test, hold: (mirror: RecordProducer) => void) {
  const made = await primary(t, {
    capture: captured,
    hold: () => {
      const [{ packets }] = made.shared as [SharedProtection];
      hold(new RecordProducer(packets.mirror, () => {}));
    },
  });
  const { host, pair } = made;
  host.start();
  const { link, received } = await pair();
  const says = async (kind: string, message: Message): Promise<void> => {
    await until(() => received.kinds.includes(kind));
    say(link, message);
  };
  await says('vmstate-size', { kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => host.status().phase === 'protected');
  t.equal(host.command({ name: 'switchover' }), undefined);
  await says('checkpoint-request', { kind: 'checkpoint-reply', epoch: epoch(1) });
  await until(() => received.kinds.filter((kind) => kind === 'vmstate-size').length === 2);
  say(link, { kind: 'vmstate-received', epoch: epoch(1) });
  say(link, { kind: 'vmstate-loaded', epoch: epoch(1) });
  await says('handover', { kind: 'handover-ready', epoch: epoch(1) });
  await until(() => received.kinds.includes('handover-done'));
  return { ...made, link, received };
}

test('a primary that hands its guest over stops it, and ends; where it went is written down first', async (t) => {
  const { machine, link, stateDirectory } = await handsOver(t, () => {});
  link.close();
  await until(() => machine.called.includes('stepDown'));
  t.ok(machine.called.includes('hold'), 'its guest never runs here again');
  const terms = new TermStore(stateDirectory);
  t.match({ term: terms.term, isElsewhere: terms.isElsewhere }, { term: 1, isElsewhere: true });
});

test('what a guest gets until it is paused is with the standby before that is told that the guest is its own', async (t) => {
  const { received } = await handsOver(t, (mirror) => {
    for (let seed = 0; seed < 3; seed++) {
      mirror.bytes.fill(seed, mirror.reserve(64), 64);
      mirror.commit(kindOfCard(0), 2);
    }
  });
  const ofPackets = received.kinds.filter((kind) => kind === 'input' || kind === 'handover-done');
  t.strictSame(ofPackets, ['input', 'input', 'input', 'handover-done']);
});

test('a guest that cannot be paused is handed over all the same, and the process ends', async (t) => {
  const { machine } = await handsOver(t, () => {
    throw new Error('a vCPU does not stop');
  });
  await until(() => machine.called.includes('stepDown'));
  t.ok(machine.called.includes('hold'));
});

test('a primary whose disk breaks stops its guest, writes down where it goes, and stays to be looked at', async (t) => {
  const { host, machine, shared, pair, stateDirectory } = await primary(t, { capture: captured });
  host.start();
  const { link, received } = await pair();
  await until(() => received.kinds.includes('vmstate-size'));
  const disks = new DiskRingControl((shared[0] as SharedProtection).disks.control);
  t.notOk(disks.standbyIsCountedOn);
  say(link, { kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => host.status().phase === 'protected');
  t.ok(disks.standbyIsCountedOn, 'what fails from now on the guest is not told');
  disks.fail(0, EIO);
  host.rang();
  await until(() => received.kinds.includes('take-over'));
  const said = received.messages.find(({ kind }) => kind === 'take-over');
  t.match(said, { why: /cannot be written: EIO/ });
  link.close();
  await until(() => host.status().phase === 'fenced');
  await until(() => new TermStore(stateDirectory).isElsewhere);
  t.equal(new TermStore(stateDirectory).term, 1);
  t.match(host.status(), { headline: 'FENCED', why: /its disk failed: .*EIO/ });
  t.ok(machine.called.includes('hold'));
  t.notOk(machine.called.includes('stepDown'));
});

test('a machine that was attached in vain is let go: its packets would wait for nobody', async (t) => {
  const { host, machine, pair } = await primary(t, {
    attach: () => ({
      memory: { ...noPages, staging: { ...noPages.staging, capacity: 1e6 } },
      devices: [],
      io: undefined,
      vcpus: [],
    }),
  });
  host.start();
  await pair();
  await until(() => host.status().phase === 'unprotected');
  await until(() => host.status().phase === 'unprotected' && machine.called.length >= 2);
  t.strictSame(machine.called, ['attach', 'detach']);
});

test('a machine that cannot let go, for its guest waits for a disk, is asked again until it does', async (t) => {
  let tries = 0;
  const { host, machine, pair } = await primary(t, {
    capture: captured,
    detach: () => {
      if (++tries < 3) throw new Error('io did not park within 10000 ms');
      return undefined;
    },
  });
  host.start();
  (await pair()).link.destroy();
  await until(() => machine.called.filter((name) => name === 'detach').length === 3);
  const told = host.log.recent(true).filter(({ text }) => text.includes('not let go of yet'));
  t.match(told, [{ text: /tried again: io did not park/ }], 'which is said once');
  host.command({ name: 'protect' });
  await pair();
  await until(() => machine.called.at(-1) !== 'detach');
  t.equal(machine.called.filter((name) => name === 'attach').length, 2, 'and then it can be protected again');
});

test('a guest is protected though nothing can be written of its disks, which is told; the next pairing begins that anew', async (t) => {
  const { host, stateDirectory, pair } = await primary(t, { capture: captured });
  const spoilt = join(stateDirectory, 'activity.log');
  mkdirSync(spoilt);
  host.start();
  const isProtected = async ({ link, received }: Met): Promise<void> => {
    await until(() => received.kinds.includes('vmstate-size'));
    say(link, { kind: 'checkpoint-ready', epoch: epoch(0) });
    await until(() => host.status().headline === 'PROTECTED');
  };
  const first = await pair();
  await isProtected(first);
  t.match(host.status().changesLost, 'EISDIR');
  const told = (): string[] => host.log.recent(true).flatMap(({ topic, text }) => (topic === 'disk' ? [text] : []));
  t.match(told(), [/where the guest writes is not written down .*EISDIR.*; should this process end, all of its disks/]);
  rmdirSync(spoilt);
  say(first.link, { kind: 'end', reason: 'stopped', exitCode: 0 });
  await until(() => host.status().phase === 'unprotected');
  host.command({ name: 'protect' });
  await isProtected(await pair());
  t.equal(host.status().changesLost, undefined);
  t.match(told().at(-1), /where the guest writes is written down again/);
});

test('who is told to end protection does not try again', async (t) => {
  const { host, standby, pair } = await primary(t, {}, { insists: true });
  host.start();
  const { link } = await pair();
  await until(() => host.status().phase !== 'greeting');
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  standby.close();
  link.destroy();
  while (host.status().phase !== 'unprotected') await new Promise(setImmediate);
  t.match(host.status().next, 'it is tried again');
  t.equal(host.command({ name: 'unprotect' }), undefined, 'there is something to end');
  t.match(host.status().why, 'an operator ended protection here');
  t.match(host.command({ name: 'unprotect' }), 'not protected');
  t.match(host.status().next, 'colo-vmm protect');
  mock.timers.tick(60_000);
  t.equal(host.status().phase, 'unprotected');
});

/** A primary that is protected; whom it met. */
async function protectedBy(t: Test, more: Partial<PrimaryConfig> = {}) {
  const made = await primary(t, { capture: captured }, more);
  made.host.start();
  const met = await made.pair();
  await until(() => met.received.kinds.includes('vmstate-size'));
  say(met.link, { kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => made.host.status().headline === 'PROTECTED');
  return { ...made, ...met };
}

test("a primary that goes on by an operator's word tells the arbiter, so that a standby which was only cut off hears no", async (t) => {
  const etcd = await smallEtcd(t);
  const arbiter = { kind: 'etcd', etcd: { endpoints: [etcd.url], prefix: '/' } } as const;
  const { host, link } = await protectedBy(t, { arbiter });
  await etcd.knows(0);
  etcd.isDown(true);
  link.destroy();
  await until(() => host.status().phase === 'waiting');
  t.equal(host.command({ name: 'failover', sure: true }), undefined);
  await until(() => host.status().headline === 'UNPROTECTED');
  // Claims of before have failed by then.
  await new Promise((resolve) => setTimeout(resolve, 100));
  etcd.isDown(false);
  await etcd.knows(1);
  const desk = new ArbiterDesk('web', arbiter, 'its standby', () => {});
  t.teardown(() => desk.close());
  t.equal(await desk.claim(1, false, () => true), 'no');
  t.match(etcd.known(), { term: 1, holder: 'test' });
});

test('a standby whose disk fails says why it goes, in words that move no cursor; so does the primary, until it is protected again', async (t) => {
  const { host, link, pair } = await protectedBy(t);
  say(link, { kind: 'end', reason: 'error', exitCode: 0, why: 'its disk failed:\n\u001b[2JENOSPC' });
  await until(() => host.status().phase === 'unprotected');
  const why = 'the standby ended protection: its disk failed: [2JENOSPC';
  t.match(host.status(), { headline: 'UNPROTECTED', why, failure: why, milestones: { unprotected: 1 } });
  t.match(host.log.recent(false).at(-1), { topic: 'protection', event: 'unprotected', text: `UNPROTECTED: ${why}` });
  host.command({ name: 'protect' });
  const { link: next, received } = await pair();
  await until(() => received.kinds.includes('vmstate-size'));
  say(next, { kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => host.status().headline === 'PROTECTED');
  t.equal(host.status().failure, undefined);
});

test('a guest that was protected is protected again by itself, however that began, until an operator of either side ends it', async (t) => {
  const first = await primary(t, {}, { insists: false });
  first.host.start();
  (await first.pair()).link.destroy();
  await until(() => first.host.status().phase === 'unprotected');
  t.match(first.host.status().next, 'colo-vmm protect', 'a first attempt that fails is the only one');

  const { host, link, met } = await protectedBy(t, { insists: false });
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const turns = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await new Promise(setImmediate);
  };
  say(link, { kind: 'end', reason: 'stopped', exitCode: 0 });
  await turns(() => host.status().phase === 'unprotected');
  t.match(host.status(), { why: 'the standby was stopped', next: /it is tried again/ });
  mock.timers.tick(60_000);
  await turns(() => met[1]?.received.kinds.includes('hello') ?? false);
  mock.timers.reset();
  const again = met[1] as Met;
  say(again.link, { kind: 'welcome', shape });
  await until(() => again.received.kinds.includes('vmstate-size'));
  say(again.link, { kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => host.status().headline === 'PROTECTED');

  mock.timers.enable({ apis: ['setTimeout'] });
  say(again.link, { kind: 'end', reason: 'unprotect', exitCode: 0 });
  await turns(() => host.status().phase === 'unprotected');
  t.match(host.status(), { why: /on the standby/, next: 'colo-vmm protect --standby HOST:PORT ...' });
  mock.timers.tick(60_000);
  t.equal(host.status().phase, 'unprotected');
});

test('a primary that was frozen does not say that it is protected while its standby may have taken over', async (t) => {
  const { host, pair, leap } = await primary(t, { capture: captured });
  host.start();
  const { link, received } = await pair();
  await until(() => received.kinds.includes('vmstate-size'));
  say(link, { kind: 'checkpoint-ready', epoch: epoch(0) });
  const isConsentedTo = (): Promise<void> =>
    until(() => {
      say(link, { kind: 'heartbeat', clock: 0, echo: host.now, laidBytes: 0 });
      return host.status().headline === 'PROTECTED';
    });
  await isConsentedTo();
  leap(10_000);
  t.match(host.status(), { headline: 'WAITING', phase: 'protected', why: /gives no consent any more, and may have/ });
  await isConsentedTo();
});

test('a pairing that fails halfway hides neither since when the guest is alone, nor why', async (t) => {
  const { host, link, met, pair } = await protectedBy(t, { insists: false });
  t.equal(host.status().unprotected, undefined);
  say(link, { kind: 'end', reason: 'error', exitCode: 0, why: 'its disk failed: EIO' });
  await until(() => host.status().phase === 'unprotected');
  const { since, unprotected } = host.status();
  t.strictSame(unprotected, { since, why: 'the standby ended protection: its disk failed: EIO' });
  const fails = async (): Promise<void> => {
    // By the clock that operators read.
    await until(() => Date.now() > since);
    host.command({ name: 'protect' });
    const next = await pair();
    await until(() => host.status().headline === 'PAIRING');
    t.ok(host.status().since > since, 'since when it pairs, it says too');
    t.strictSame(host.status().unprotected, unprotected);
    next.link.destroy();
    await until(() => host.status().phase === 'unprotected');
    t.match(host.status(), { headline: 'UNPROTECTED', since, unprotected, why: /connection/ });
  };
  await fails();
  await fails();
  host.command({ name: 'protect' });
  const again = await pair();
  await until(() => again.received.kinds.includes('vmstate-size'));
  say(again.link, { kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => host.status().headline === 'PROTECTED');
  t.equal(host.status().unprotected, undefined);
  t.equal(met.length, 4);
});

test('what a takeover was like for clients is said until the guest is protected again, whoever is to do that', async (t) => {
  const takeover = { silenceMs: 212, sentAgain: 3 };
  const heritage = { why: 'a was lost: silent for 200 ms', since: Date.now(), takeover };
  const unprotected = { since: Date.now(), why: heritage.why };
  for (const past of [{ heritage }, { before: { survivor: true, unprotected, takeover } }]) {
    const { host, pair } = await primary(t, { capture: captured }, {}, undefined, past);
    t.match(host.status(), { headline: 'UNPROTECTED', survivor: true, takeover });
    host.start();
    const { link, received } = await pair();
    await until(() => received.kinds.includes('vmstate-size'));
    say(link, { kind: 'checkpoint-ready', epoch: epoch(0) });
    await until(() => host.status().headline === 'PROTECTED');
    say(link, { kind: 'end', reason: 'stopped', exitCode: 0 });
    await until(() => host.status().phase === 'unprotected');
    t.equal(host.status().takeover, undefined, 'that was another time');
  }
});

test('a guest that was never protected has been alone since its VMM began, however often that is tried', async (t) => {
  const { host, standby } = await primary(t, {});
  standby.close();
  host.start();
  t.match(host.status().next, 'nothing: its standby is asked now', 'what it was told to do is under way');
  const { since } = host.status();
  await until(() => host.status().phase === 'unprotected');
  t.match(host.status(), {
    since,
    unprotected: { since, why: 'it has not been protected yet' },
    why: /ECONNREFUSED/,
    next: 'colo-vmm protect --standby HOST:PORT ...',
  });
});

test('the last checkpoint is the one that the standby has, not one that is on its way', async (t) => {
  const { host, pair, leap } = await primary(t, { capture: captured });
  host.start();
  const { link, received } = await pair();
  const sent = (): number => received.kinds.filter((kind) => kind === 'vmstate-size').length;
  await until(() => sent() === 1);
  t.equal(host.status().checkpoint, undefined, 'nobody has the first one yet');
  say(link, { kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => host.status().headline === 'PROTECTED');
  t.match(host.status().checkpoint, { epoch: 0, reasons: [] });
  leap(5000);
  host.command({ name: 'checkpoint' });
  await until(() => sent() === 2);
  const { checkpoint } = host.status();
  t.match(checkpoint, { epoch: 0, reasons: [] });
  t.ok((checkpoint?.msAgo ?? 0) >= 5000, 'it grows older meanwhile');
  say(link, { kind: 'checkpoint-reply', epoch: epoch(1) }, { kind: 'vmstate-received', epoch: epoch(1) });
  await until(() => host.status().checkpoint?.epoch === 1);
  t.match(host.status().checkpoint, { reasons: ['command'] });
  t.ok((host.status().checkpoint?.msAgo ?? 5000) < 5000);
  say(link, { kind: 'end', reason: 'stopped', exitCode: 0 });
  await until(() => host.status().checkpoint === undefined);
});

import { test } from 'tap';
import { dial } from '../../../../src/colo/link/dial.ts';
import { PeerListener } from '../../../../src/colo/link/peer-listener.ts';
import { protocolVersion } from '../../../../src/colo/protocol/messages.ts';
import { term } from '../../../../src/colo/protocol/numbers.ts';
import type { SecondaryHost } from '../../../../src/colo/side/secondary/secondary-host.ts';
import { TermStore } from '../../../../src/colo/side/term-store.ts';
import { birth, freePort, Received, shape, until } from './host-rig.ts';
import { heritage, past, primary, seeker, stoppedMs, survivor } from './meeting-rig.ts';

test('a survivor says why it is one, and since when, and remembers what happened before', async (t) => {
  const { host } = await survivor(t);
  t.match(host.status(), { headline: 'UNPROTECTED', role: 'primary', term: 2, why: heritage.why, since: 1000 });
  t.match(host.status().next, '--peer THIS-HOST:');
  t.match(host.log.recent(false)[0], past.events[0]);
});

test('a survivor is one while it dials and greets, too, and says what to do', async (t) => {
  const silent = await PeerListener.start({
    ...{ host: '127.0.0.1', port: 0, security: birth(t).security, role: 'secondary', patienceMs: 20_000 },
    refused: (reason) => t.fail(reason),
    linked: (link) => {
      link.listen({ received: () => {}, drained: () => {}, ended: () => {} });
      t.teardown(() => link.destroy());
    },
  });
  t.teardown(() => silent.close());
  const places = {
    standby: { host: '127.0.0.1', port: silent.port },
    listen: { host: '127.0.0.1', port: await freePort() },
  };
  const host = await primary(t, places, { term: 2, heritage });
  for (const phase of ['connecting', 'greeting']) {
    await until(() => host.status().phase === phase);
    const unprotected = { since: heritage.since, why: heritage.why };
    t.match(host.status(), { headline: 'UNPROTECTED', survivor: true, unprotected, next: /--peer THIS-HOST:/ });
  }
});

test('a survivor that is told another standby is one, since when it was', async (t) => {
  const { host: first } = await survivor(t);
  const before = first.status();
  const at = { host: '127.0.0.1', port: await freePort() };
  const host = await primary(t, { standby: at }, { term: 2, before });
  await until(() => host.status().phase === 'unprotected');
  t.match(host.status(), { survivor: true, since: 1000, unprotected: before.unprotected, why: /ECONNREFUSED/ });
});

test('a standby that looks for a survivor protects it, in its term', async (t) => {
  const { host, at } = await survivor(t);
  const { host: standby, stateDirectory } = await seeker(t, at);
  await until(() => host.status().headline === 'PROTECTED' && standby.status().headline === 'PROTECTING');
  t.equal(standby.status().term, 2);
  t.equal(new TermStore(stateDirectory).term, 2);
  t.match(host.status().milestones, { failover: 1, protected: 1 }, 'what was before counts as well');
});

test('checkpoints are counted on both sides, with their reasons and for how long the guest was stopped', async (t) => {
  const { host, at } = await survivor(t);
  const { host: standby } = await seeker(t, at);
  await until(() => host.status().headline === 'PROTECTED' && standby.status().headline === 'PROTECTING');
  const before = host.status().totals;
  const has = standby.status().totals?.checkpoints ?? 0;
  t.equal(host.command({ name: 'checkpoint' }), undefined);
  await until(() => (host.status().totals?.checkpoints ?? 0) > (before?.checkpoints ?? 0));
  await until(() => (standby.status().totals?.checkpoints ?? 0) > has);
  t.equal(standby.status().totals?.checkpoints, has + 1);
  const grown = (host.status().totals?.stoppedMs ?? 0) - (before?.stoppedMs ?? 0);
  t.equal(Number(grown.toFixed(6)), stoppedMs);
  t.same(host.status().totals?.reasons, { ...before?.reasons, command: 1 });
});

test('a standby that is there before its survivor finds it later', async (t) => {
  const port = await freePort();
  const { host: standby } = await seeker(t, { host: '127.0.0.1', port });
  t.equal(standby.status().headline, 'LISTENING');
  const reasons = () => standby.log.recent(false).filter(({ text }) => text.startsWith('no survivor answers: '));
  await until(() => reasons().length > 0);
  const { host } = await survivor(t, port);
  await until(() => host.status().headline === 'PROTECTED' && standby.status().headline === 'PROTECTING');
  t.match(reasons(), [{ topic: 'pair', text: `127.0.0.1:${port} cannot be reached: ECONNREFUSED` }]);
});

test('of two standbys that look for one survivor one is taken, and the other one when that has gone', async (t) => {
  const { host, at } = await survivor(t);
  const standbys = [(await seeker(t, at)).host, (await seeker(t, at)).host];
  const isIt = (which: SecondaryHost) => which.status().headline === 'PROTECTING';
  await until(() => standbys.some(isIt) && host.status().headline === 'PROTECTED');
  const [taken, other] = standbys.sort((one, two) => Number(isIt(two)) - Number(isIt(one))) as [
    SecondaryHost,
    SecondaryHost,
  ];
  await until(() => other.status().why.includes('wants no standby'));
  t.match(other.status(), { headline: 'LISTENING', why: /it has .* for that/ });
  taken.command({ name: 'unprotect', stops: true });
  await taken.close();
  await until(() => isIt(other));
  t.equal(host.status().headline, 'PROTECTED');
});

test('a standby whose operator ended protection is not taken again: it is told so, each time that it asks', async (t) => {
  const { host, at } = await survivor(t);
  const { host: standby } = await seeker(t, at);
  await until(() => host.status().headline === 'PROTECTED' && standby.status().headline === 'PROTECTING');
  t.equal(standby.command({ name: 'unprotect' }), undefined);
  await until(() => standby.status().why.includes('wants no standby'));
  t.match(standby.status(), { headline: 'LISTENING', why: /protection was ended by an operator/ });
  const why = 'an operator ended protection on the standby (colo-vmm unprotect)';
  t.match(host.status(), { headline: 'UNPROTECTED', why, next: 'colo-vmm protect --standby HOST:PORT ...' });
});

test('a survivor whose disk fails says so, once, and goes on: there is nobody who could instead', async (t) => {
  const { host } = await survivor(t);
  for (const _ of [1, 2]) host.diskFailed('disk root cannot be written: ENOSPC', false);
  const told = host.log.recent(false).filter(({ event }) => event === 'disk-error');
  t.match(told, [{ topic: 'disk', text: 'disk root cannot be written: ENOSPC' }]);
  t.equal(told.length, 1);
  t.match(host.status(), { headline: 'UNPROTECTED', milestones: { 'disk-error': 1 } });
  host.diskFailed('disk root cannot be written: EIO', false);
  t.match(host.status().milestones, { 'disk-error': 2 }, 'that is another failure');
  host.diskFailed('disk root cannot be written: ENOSPC', false);
  t.match(host.status().milestones, { 'disk-error': 2 }, 'by turns');
  host.guestResumed();
  host.diskFailed('disk root cannot be written: ENOSPC', false);
  t.match(host.status().milestones, { 'disk-error': 3 }, 'somebody had made room');
});

test('a survivor whose operator ended protection takes nobody', async (t) => {
  const { host, at } = await survivor(t);
  host.command({ name: 'unprotect' });
  const { host: standby } = await seeker(t, at);
  await until(() => standby.status().why.includes('protection was ended by an operator'));
  t.match(standby.status().headline, 'LISTENING');
  t.match(host.status().next, 'colo-vmm protect --standby');
});

test('two standbys that look for each other do not keep a primary out', async (t) => {
  const port = await freePort();
  const { host: standby } = await seeker(t, { host: '127.0.0.1', port });
  const listening = Number(standby.status().address.split(':').at(-1));
  await seeker(t, { host: '127.0.0.1', port: listening });
  const config = birth(t);
  await t.rejects(
    dial({ host: '127.0.0.1', port: listening, security: config.security, role: 'secondary', patienceMs: 20_000 }),
    { code: 'COLO_LINK' },
  );
  const link = await dial({
    host: '127.0.0.1',
    port: listening,
    security: config.security,
    role: 'primary',
    patienceMs: 20_000,
  });
  t.teardown(() => link.destroy());
  const received = new Received();
  link.listen({ received: (frame) => received.take(frame), drained: () => {}, ended: () => {} });
  const { detectMs, arbiter } = config.settings;
  const message = {
    kind: 'hello',
    version: protocolVersion,
    pair: 'web',
    shape,
    detectMs,
    arbiter,
    comparing: 0,
  } as const;
  link.send({ role: 'primary', term: term(0), message });
  await until(() => received.kinds.includes('welcome'));
});

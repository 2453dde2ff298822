import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { mock } from 'node:test';
import { type Test, test } from 'tap';
import { ArbiterDesk } from '../../../../src/colo/side/arbiter-desk.ts';
import { smallEtcd } from './etcd-rig.ts';
import { until } from './host-rig.ts';

/** An etcd that answers when a test says so, and that knows the pair in term 1. */
async function slowEtcd(t: Test) {
  const waiting: ServerResponse[] = [];
  const server = createServer((request, response) => {
    request.resume();
    request.once('end', () => waiting.push(response));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const record = Buffer.from(JSON.stringify({ term: 1, holder: 'other' })).toString('base64');
  const answer = async (body: object): Promise<void> => {
    await until(() => waiting.length > 0);
    waiting.shift()?.end(JSON.stringify(body));
  };
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    waiting,
    knows: () => answer({ kvs: [{ value: record, mod_revision: '7' }] }),
    agrees: () => answer({ succeeded: true }),
  };
}

function deskOf(t: Test, endpoints: readonly string[], problems: (string | undefined)[] = []): ArbiterDesk {
  const etcd = { endpoints, prefix: '/colo-vmm/' };
  const desk = new ArbiterDesk('web', { kind: 'etcd', etcd }, 'us', (problem) => problems.push(problem));
  t.teardown(() => desk.close());
  return desk;
}

const isWanted = (): boolean => true;

test('an arbiter that is slow is no arbiter that is gone: its answer counts when it comes', async (t) => {
  const etcd = await slowEtcd(t);
  const problems: (string | undefined)[] = [];
  const desk = deskOf(t, [etcd.url], problems);
  const claim = desk.claim(2, false, isWanted);
  await until(() => etcd.waiting.length === 1);
  t.equal(await desk.claim(2, false, isWanted), 'unknown', 'who asks again meanwhile does not ask the arbiter again');
  t.equal(etcd.waiting.length, 1);
  await etcd.knows();
  await etcd.agrees();
  t.equal(await claim, 'yes');
  t.strictSame(problems, [], 'nobody was alarmed');
});

test('a term that a claim was given is not registered as well: the arbiter knows it', async (t) => {
  const etcd = await slowEtcd(t);
  const desk = deskOf(t, [etcd.url]);
  const claim = desk.claim(2, false, isWanted);
  await etcd.knows();
  await etcd.agrees();
  t.equal(await claim, 'yes');
  t.same(await desk.register(2), { kind: 'granted' });
  t.equal(etcd.waiting.length, 0);
  const later = desk.register(2);
  await etcd.knows();
  await etcd.agrees();
  t.same(
    await later,
    { kind: 'granted' },
    'at a later pairing in that term it is asked: it may have lost what it knew',
  );
});

test('a term that is not wanted any more when the arbiter says what it knows is not taken', async (t) => {
  const etcd = await slowEtcd(t);
  const problems: (string | undefined)[] = [];
  const desk = deskOf(t, [etcd.url], problems);
  let isStillWanted = true;
  const claim = desk.claim(2, false, () => isStillWanted);
  await until(() => etcd.waiting.length === 1);
  isStillWanted = false;
  await etcd.knows();
  t.equal(await claim, 'unknown');
  t.equal(etcd.waiting.length, 0, 'nothing was written');
  t.strictSame(problems, [], 'nothing is wrong with the arbiter');
});

test('a member that says nothing does not keep others from being asked', async (t) => {
  const [mute, well] = [await slowEtcd(t), await slowEtcd(t)];
  const desk = deskOf(t, [mute.url, well.url]);
  const claim = desk.claim(2, false, isWanted);
  await well.knows();
  await well.agrees();
  t.equal(await claim, 'yes');
  t.ok(mute.waiting.length > 0, 'it was asked first, and may still answer');
});

test('an arbiter that does not know the term of the pair is told of: it would give none when it matters', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] });
  t.teardown(() => mock.timers.reset());
  const etcd = await slowEtcd(t);
  const problems: (string | undefined)[] = [];
  const desk = deskOf(t, [etcd.url], problems);
  const look = async (): Promise<void> => {
    const asked = performance.now();
    mock.timers.tick(5000);
    await etcd.knows();
    await until(() => performance.now() - (desk.facts.answeredMsAgo ?? Number.POSITIVE_INFINITY) > asked);
  };
  const first = desk.watch();
  await etcd.knows();
  await first;
  desk.expect(2);
  await look();
  t.strictSame(problems, [], 'the other side may be about to register it');
  await look();
  await look();
  t.match(problems, [/knows this pair in term 1, though it is in term 2: do both hosts ask the same one/], 'told once');
  desk.expect(1);
  await look();
  t.equal(problems.length, 2);
  t.equal(problems[1], undefined, 'it answers as it should again');
});

test('a term that another process has is told of until this side has one of its own, however often the arbiter is looked at', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] });
  t.teardown(() => mock.timers.reset());
  const etcd = await smallEtcd(t);
  const problems: (string | undefined)[] = [];
  const desk = deskOf(t, [etcd.url], problems);
  const look = async (): Promise<void> => {
    const asked = performance.now();
    mock.timers.tick(5000);
    await until(() => performance.now() - (desk.facts.answeredMsAgo ?? Number.POSITIVE_INFINITY) > asked);
  };
  await desk.watch();
  await desk.register(1);
  // The other side was only cut off, and is answered first; this one goes on by an operator's word.
  const other = new ArbiterDesk(
    'web',
    { kind: 'etcd', etcd: { endpoints: [etcd.url], prefix: '/' } },
    'other',
    () => {},
  );
  t.teardown(() => other.close());
  t.equal(await other.claim(2, false, isWanted), 'yes');
  etcd.isDown(true);
  await desk.register(2);
  t.match(problems, [/does not answer/]);
  etcd.isDown(false);
  t.match(await desk.register(2), { kind: 'refused', term: 2, holder: 'other' });
  t.match(problems, [/does not answer/, /gave term 2 of this pair to another process.*does the guest run twice\?/]);
  for (let looks = 0; looks < 3; looks++) await look();
  t.match(desk.facts.problem, /gave term 2 .* to another process/);
  t.equal(problems.length, 2, 'told once');
  t.equal(await desk.claim(2, false, isWanted), 'no');
  t.match(desk.facts.problem, /gave term 2 .* to another process/, 'a claim that comes to nothing changes nothing');
  await desk.register(3);
  t.equal(desk.facts.problem, undefined);
  t.strictSame(problems.slice(2), [undefined]);
});

test('who is not told yes by its arbiter, and has the guest no more, has nothing to be warned of', async (t) => {
  const etcd = await smallEtcd(t);
  const [desk, other] = [deskOf(t, [etcd.url]), deskOf(t, [etcd.url])];
  await other.register(5);
  await desk.register(4);
  t.match(
    desk.facts.problem,
    /gave this process term 5, which it never began, this side is in term 4: colo-vmm unprotect/,
  );
  desk.expect(undefined);
  await desk.watch();
  t.equal(desk.facts.problem, undefined);
});

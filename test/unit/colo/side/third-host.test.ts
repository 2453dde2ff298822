import { type Test, test } from 'tap';
import { dial } from '../../../../src/colo/link/dial.ts';
import type { PrimaryHost } from '../../../../src/colo/side/primary/primary-host.ts';
import type { SecondaryHost } from '../../../../src/colo/side/secondary/secondary-host.ts';
import { freePort, until } from './host-rig.ts';
import { primary, seeker, survivor } from './meeting-rig.ts';

/** `run --standby b --listen`: host b's address, and where the primary is found. */
async function places() {
  const [standby, listen] = [
    { host: '127.0.0.1', port: await freePort() },
    { host: '127.0.0.1', port: await freePort() },
  ];
  return { standby, listen };
}

/** A host that is off: nobody refuses the connection, and nobody takes it. */
const unanswered: typeof dial = ({ signal }) =>
  new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(new Error('given up'))));

const isPair = (host: PrimaryHost, standby: SecondaryHost): boolean =>
  host.status().headline === 'PROTECTED' && standby.status().headline === 'PROTECTING';

const logOf = (host: PrimaryHost | SecondaryHost): string[] => host.log.recent(false).map(({ text }) => text);

test('a third machine that names the primary takes the place of a standby that is lost', async (t) => {
  const { standby, listen } = await places();
  const host = await primary(t, { standby, listen }, { term: 1 });
  const { host: third } = await seeker(t, listen);
  await until(() => isPair(host, third));
  t.equal(third.status().term, 1);
});

test('it is not kept waiting by the attempt to reach the lost one', async (t) => {
  const { standby, listen } = await places();
  const host = await primary(t, { standby, listen }, { term: 1, dial: unanswered });
  t.equal(host.status().phase, 'connecting');
  const { host: third } = await seeker(t, listen);
  await until(() => isPair(host, third));
  t.notOk(
    logOf(host).some((text) => text.includes('given up')),
    'who is not dialled any more is no failure',
  );
});

test('a standby that is back while a third machine has its place is turned away, and has it again when that has gone', async (t) => {
  const { standby, listen } = await places();
  const host = await primary(t, { standby, listen }, { term: 1 });
  const { host: third } = await seeker(t, listen);
  await until(() => isPair(host, third));
  const { host: back } = await seeker(t, listen, { port: standby.port });
  await until(() => back.status().why.includes('wants no standby'));
  t.match(back.status(), { headline: 'LISTENING', why: /it has .* for that/ });
  t.same([host.status().phase, third.status().phase], ['protected', 'protecting'], 'the pair is as it was');
  third.command({ name: 'unprotect', stops: true });
  await third.close();
  await until(() => isPair(host, back));
});

test('a standby that waits where the primary dials is found, and a third machine that comes is turned away', async (t) => {
  const { standby, listen } = await places();
  const { host: second } = await seeker(t, undefined, { port: standby.port });
  const host = await primary(t, { standby, listen }, { term: 1 });
  await until(() => isPair(host, second));
  const { host: third } = await seeker(t, listen);
  await until(() => third.status().why.includes('wants no standby'));
  t.same([host.status().phase, second.status().phase], ['protected', 'protecting']);
});

test('a standby that is told of several hosts finds the one that has the guest', async (t) => {
  const { standby, listen } = await places();
  const { host: other } = await seeker(t, undefined);
  const idle = { host: '127.0.0.1', port: Number(other.status().address.split(':').at(-1)) };
  const { host: third } = await seeker(t, [idle, standby, listen]);
  const host = await primary(t, { standby, listen }, { term: 1, dial: unanswered });
  await until(() => isPair(host, third));
  t.equal(other.status().headline, 'LISTENING');
});

test('one of them that has a standby keeps nobody from the one that has none', async (t) => {
  const { standby, listen } = await places();
  const { host: busy, at } = await survivor(t);
  const { host: taken } = await seeker(t, at);
  await until(() => isPair(busy, taken));
  const { host: third } = await seeker(t, [at, listen]);
  const host = await primary(t, { standby, listen }, { term: 1, dial: unanswered });
  await until(() => isPair(host, third));
  t.equal(taken.status().phase, 'protecting');
});

test('a primary without a door is found by nobody', async (t) => {
  const { standby, listen } = await places();
  const host = await primary(t, { standby }, { term: 1 });
  const { host: third } = await seeker(t, listen);
  await until(() => logOf(third).some((text) => text.includes('no survivor answers')));
  t.equal(host.status().headline, 'UNPROTECTED');
  t.match(host.status().next, /it is tried again; start the standby there: .* --listen \.\.\.$/);
});

test('whoever operates a primary with a door is told that a standby on any host finds it', async (t) => {
  const { standby, listen } = await places();
  const host = await primary(t, { standby, listen }, { term: 1 });
  await until(() => host.status().phase === 'unprotected');
  t.match(host.status().next, `--peer THIS-HOST:${listen.port}`);
});

test('unprotect closes the door to all who come', async (t) => {
  const { standby, listen } = await places();
  const host = await primary(t, { standby, listen }, { term: 1, dial: unanswered });
  host.command({ name: 'unprotect' });
  const { host: third } = await seeker(t, listen);
  await until(() => third.status().why.includes('protection was ended by an operator'));
  t.equal(host.status().phase, 'unprotected');
});

/**
 * A primary and a standby call each other at the same moment: the primary's call is through at the standby before the standby's is.
 *
 * @param whose call the primary has first; the other one is known to it later
 */
async function crossing(t: Test, whose: 'primary' | 'standby') {
  const { standby, listen } = await places();
  const [standbyCalls, primaryIsThrough, standbyIsThrough] = [signal(), signal(), signal()];
  const standbys: typeof dial = async (options) => {
    standbyCalls.give();
    await primaryIsThrough.given;
    const link = await dial(options);
    standbyIsThrough.give();
    return link;
  };
  const primarys: typeof dial = async (options) => {
    await standbyCalls.given;
    const link = await dial(options);
    primaryIsThrough.give();
    if (whose === 'standby') await standbyIsThrough.given;
    return link;
  };
  const { host: second } = await seeker(t, listen, { port: standby.port, dial: standbys });
  const host = await primary(t, { standby, listen }, { term: 1, dial: primarys });
  return { host, second };
}

function signal() {
  let give = (): void => {};
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { give: () => give(), given };
}

for (const whose of ['primary', 'standby'] as const) {
  test(`a primary and a standby that call each other at once become a pair by the ${whose}'s call, if that is first`, async (t) => {
    const { host, second } = await crossing(t, whose);
    await until(() => isPair(host, second));
    t.same(
      logOf(host).filter((text) => text.startsWith('UNPROTECTED')),
      [],
      'at the first attempt',
    );
    t.same(
      logOf(second).filter((text) => text.startsWith('waiting for a primary again')),
      [],
    );
  });
}

test('hosts that call each other again and again become a pair each time', async (t) => {
  for (let round = 0; round < 10; round++) {
    const { standby, listen } = await places();
    const [host, { host: second }] = await Promise.all([
      primary(t, { standby, listen }, { term: 1 }),
      seeker(t, listen, { port: standby.port }),
    ]);
    await until(() => isPair(host, second));
    t.same([host.status().phase, second.status().phase], ['protected', 'protecting'], `round ${round}`);
    await host.close();
    await second.close();
  }
});

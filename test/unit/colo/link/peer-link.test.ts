import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'tap';
import { LinkError } from '../../../../src/colo/link/dial.ts';
import { turnAway } from '../../../../src/colo/link/turn-away.ts';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { epoch, type Role, term } from '../../../../src/colo/protocol/numbers.ts';
import { dialing, expired, Listening, linkedPair, Middlebox, pairOfKeys, plaintext, Side, tls } from './link-rig.ts';

function frame(message: Message, role: Role = 'primary'): Frame {
  return { role, term: term(1), message };
}

function heartbeat(clock: number): Message {
  return { kind: 'heartbeat', clock, echo: 0, laidBytes: 0 };
}

function page(number: number, bytes = 1000): Message {
  return { kind: 'pages', epoch: epoch(number), data: new Uint8Array(bytes).fill(number) };
}

for (const secured of [true, false]) {
  test(`a link ${secured ? 'with TLS' : 'in plaintext'}`, async (t) => {
    const [a, b] = await pairOfKeys(t);
    const [from, to] = secured ? [tls(a), tls(b)] : [plaintext, plaintext];

    await t.test('says who the peer is, and whether it is secure', async (t) => {
      const [primary, secondary] = await linkedPair(t, from, to);
      t.match(primary.link, { secure: secured, peer: { host: secured ? 'b.example' : '127.0.0.1' } });
      t.match(secondary.link, { secure: secured, peer: { host: secured ? 'a.example' : '127.0.0.1' } });
    });

    await t.test('carries frames of every stream in both directions, each stream in order', async (t) => {
      const [primary, secondary] = await linkedPair(t, from, to);
      const messages: Message[] = [];
      for (let n = 0; n < 50; n++) {
        messages.push(
          heartbeat(n),
          page(n),
          {
            kind: 'disk-write',
            epoch: epoch(n),
            disk: 1,
            offset: 2 ** 40,
            data: new Uint8Array(n),
          },
          { kind: 'output', epoch: epoch(n), card: 0, data: new Uint8Array(60) },
        );
      }
      for (const message of messages) primary.link.send(frame(message));
      const received = (await secondary.received(messages.length)).map(({ message }) => message);
      for (const kind of ['heartbeat', 'pages', 'disk-write', 'output']) {
        const ofKind = (list: readonly Message[]) => list.filter((message) => message.kind === kind);
        t.strictSame(ofKind(received), ofKind(messages), kind);
      }
      secondary.link.send(frame(heartbeat(7), 'secondary'));
      t.strictSame(await primary.received(1), [frame(heartbeat(7), 'secondary')]);
    });

    await t.test('a heartbeat does not wait behind pages that nobody reads', async (t) => {
      const [primary, secondary] = await linkedPair(t, from, to);
      secondary.link.pause('pages');
      let number = 0;
      while (primary.link.send(frame(page(number % 256, 100_000))) || number < 100) number++;
      primary.link.send(frame(heartbeat(1)));
      const frames = await secondary.received(1);
      t.ok(primary.link.unsentBytes('pages') > 0, 'pages wait');
      t.ok(frames.some(({ message }) => message.kind === 'heartbeat'));
      t.strictSame(primary.drained, []);
      secondary.link.resume('pages');
      await primary.hasDrained('pages');
      t.equal((await secondary.received(number + 2)).length, number + 2, 'and nothing was lost');
    });

    await t.test('tells that its process is gone when the peer is killed, also in the middle of a frame', async (t) => {
      const listening = await Listening.start(t, to);
      const modules = new URL('../../../../src/colo/', import.meta.url).href;
      const program = `
        import { dial } from '${modules}link/dial.ts';
        import { loadKeySet } from '${modules}keys/key-set.ts';
        const security = ${secured} ? { kind: 'tls', keys: loadKeySet('${a.folder}') } : { kind: 'plaintext' };
        const link = await dial({ host: '127.0.0.1', port: ${listening.listener.port}, security, role: 'primary', patienceMs: 20000 });
        link.listen({ received() {}, drained() {}, ended() {} });
        for (;;) {
          while (link.send({ role: 'primary', term: 1, message: { kind: 'pages', epoch: 1, data: new Uint8Array(50000) } }));
          await new Promise(setImmediate);
        }`;
      const child = spawn(process.execPath, ['--import=tsx', '--input-type=module', '-e', program], {
        stdio: 'inherit',
      });
      t.teardown(() => child.kill('SIGKILL'));
      const side = new Side(await listening.link());
      await side.received(3);
      const gone = once(child, 'close');
      child.kill('SIGKILL');
      t.strictSame(await side.end(), { kind: 'closed' });
      await gone;
    });

    await t.test('one connection that something in between resets proves nothing', async (t) => {
      const listening = await Listening.start(t, to);
      const between = await Middlebox.start(t, listening.listener.port);
      const primary = new Side(await dialing(listening, from, { port: between.port }));
      const secondary = new Side(await listening.link());
      between.reset(2);
      const reason = /^the \w+ stream was closed, but not \w+, \w+, \w+$/;
      const ends = await Promise.all([secondary.end(), primary.end()]);
      const failures = ends.filter((end) => end.kind === 'failed');
      // Whoever hears of it first closes all of its own, which the other one, if it is late, takes for what it is.
      t.ok(failures.length > 0, 'one of them at least had nothing proven to it');
      for (const failure of failures) t.match(failure, { reason });
    });

    await t.test('a peer that breaks the protocol ends the link, with the reason', async (t) => {
      const [primary, secondary] = await linkedPair(t, from, to);
      primary.link.send(frame(heartbeat(1), 'secondary'));
      t.match(await secondary.end(), { kind: 'failed', reason: /heartbeat is nothing that a primary says/ });
      t.strictSame(secondary.frames, []);
      t.match(await primary.end(), { kind: 'closed' }, 'and the other side sees it closed');
    });

    for (const [how, busy] of [
      ['comes late to it', () => new Promise((resolve) => setTimeout(resolve, 100))],
      ['is held up', async () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300)],
    ] as const) {
      await t.test(`a refusal is read by one that ${how}`, async (t) => {
        const listening = await Listening.start(t, to);
        const dialed = dialing(listening, from);
        turnAway(await listening.link(), 'secondary', term(1), 'it is busy');
        const link = await dialed;
        await busy();
        const primary = new Side(link);
        t.match(await primary.received(1), [{ message: { kind: 'refusal', reason: 'it is busy' } }]);
        t.match(await primary.end(), { kind: 'closed' });
      });
    }

    await t.test('that was destroyed says nothing more', async (t) => {
      const [primary, secondary] = await linkedPair(t, from, to);
      primary.link.destroy();
      t.strictSame(await secondary.end(), { kind: 'closed' });
      t.strictSame(primary.ends, []);
      t.ok(primary.link.send(frame(heartbeat(1))), 'and swallows what is sent');
    });
  });
}

test('who is not of the pair is turned away, and both sides are told why', async (t) => {
  const [a, b] = await pairOfKeys(t);
  const [formerA, formerB] = [await expired(a), await expired(b)];
  const [foreign] = await pairOfKeys(t, 'mail');

  await t.test('keys of another pair', async (t) => {
    const listening = await Listening.start(t, tls(b));
    await t.rejects(dialing(listening, tls(foreign)), {
      code: 'COLO_LINK',
      message:
        /has a certificate that is not of the pair "mail" in .*; was the other folder of colo-vmm keys copied there\?/,
    });
    t.match(
      await listening.refusal(),
      /broke off the TLS handshake; does it have keys of another pair, or have these expired\?/,
    );
    t.strictSame(listening.links, []);
  });

  await t.test('the same key set on both hosts', async (t) => {
    const listening = await Listening.start(t, tls(a));
    await t.rejects(dialing(listening, tls(a)), {
      message: /shows the certificate of this host \(a\.example\); copy the other folder of colo-vmm keys to it/,
    });
  });

  for (const [whose, listens, dials, told, refusal] of [
    [
      'of who dials',
      b,
      formerA,
      /closed the connection: the certificate of this host has expired; make new ones with colo-vmm keys/,
      /shows a certificate that has expired; make new ones with colo-vmm keys/,
    ],
    [
      'of who listens',
      formerB,
      a,
      /shows a certificate that has expired; make new ones with colo-vmm keys/,
      /broke off the TLS handshake; does it have keys of another pair, or have these expired\?/,
    ],
  ] as const) {
    await t.test(`a certificate ${whose} that has expired`, async (t) => {
      const listening = await Listening.start(t, tls(listens));
      await t.rejects(dialing(listening, tls(dials)), { code: 'COLO_LINK', message: told });
      t.match(await listening.refusal(), refusal);
      t.strictSame(listening.links, []);
    });
  }

  await t.test('plaintext to a TLS port', async (t) => {
    const listening = await Listening.start(t, tls(b));
    await t.rejects(dialing(listening, plaintext), {
      code: 'COLO_LINK',
      message: /closed the connection; does it speak TLS\? Give both sides --tls dir=FOLDER, or both --insecure$/,
    });
    t.match(await listening.refusal(), /does not speak TLS there; was it started with --insecure/);
    await t.rejects(dialing(listening, plaintext, { role: 'secondary' }), {
      message: /closed the connection; is it a standby as well, or does it speak TLS\?/,
    });
  });

  await t.test('TLS to a plaintext port', async (t) => {
    const listening = await Listening.start(t, plaintext);
    await t.rejects(dialing(listening, tls(a)), {
      code: 'COLO_LINK',
      message: /closed the connection in the TLS handshake; was it started with --insecure\? Give both sides --tls/,
    });
    t.match(
      await listening.refusal(),
      /speaks TLS, and this side was started with --insecure\. Give both sides --tls dir=FOLDER, or both --insecure$/,
    );
  });
});

test('a standby that cannot be reached is an error in bounded time', async (t) => {
  const listening = await Listening.start(t, plaintext);
  const { port } = listening.listener;
  listening.listener.close();
  await t.rejects(
    dialing(listening, plaintext, { port }),
    new LinkError(`127.0.0.1:${port} cannot be reached: ECONNREFUSED`),
  );
});

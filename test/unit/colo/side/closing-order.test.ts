import { type Test, test } from 'tap';
import type { PeerLink } from '../../../../src/colo/link/peer-link.ts';
import type { SharedCheckpoints } from '../../../../src/colo/machine/shared-checkpoints.ts';
import { encodeFrame } from '../../../../src/colo/protocol/message-codec.ts';
import { streamOf } from '../../../../src/colo/protocol/message-table.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../../src/colo/protocol/numbers.ts';
import type { PrimaryMachineCalls } from '../../../../src/colo/side/machine-calls.ts';
import { PrimaryHost } from '../../../../src/colo/side/primary/primary-host.ts';
import { SignsOfLife } from '../../../../src/colo/side/signs-of-life.ts';
import { Doorbell } from '../../../../src/host/threads/doorbell.ts';
import { FakeLink } from '../../../../tools/fuzz/peer/fake-link.ts';
import { birth, FakeMachineThread, listener, ramBytes, shape, someRam, someState, until } from './host-rig.ts';

const noPages: SharedCheckpoints = {
  ramBytes,
  live: [],
  regions: [],
  staging: { bytes: new SharedArrayBuffer(4096), start: 0, capacity: 1, numbers: new SharedArrayBuffer(4) },
};

/** A primary that is protected, and the connections that it has. */
async function protectedPrimary(t: Test) {
  const state = someState();
  const storage = new SharedArrayBuffer(state.length);
  new Uint8Array(storage).set(state);
  const ram = someRam(t);
  const machine = new FakeMachineThread<PrimaryMachineCalls>(t, {
    attach: () => ({ memory: noPages, devices: [], io: undefined, vcpus: [] }),
    collect: () => ({ marked: 0, ram }),
    capture: () => ({ pages: 0, state: { storage, sizeBytes: state.length }, stoppedMs: 0, parts: {} }) as never,
  });
  const bell = new Doorbell();
  t.teardown(() => bell.close());
  const kinds: string[] = [];
  const peer = new FakeLink('primary', ({ message }) => kinds.push(message.kind));
  const host = new PrimaryHost(
    { ...birth(t), standby: { host: '127.0.0.1', port: 1 }, insists: false },
    {
      calls: machine.calls,
      bell: bell.button,
      shape,
      disks: [],
      signs: new SignsOfLife(),
      dial: async (): Promise<PeerLink> => peer.link,
    },
    listener(t),
  );
  t.teardown(() => host.close());
  const say = (message: Message): void =>
    peer.deliver(streamOf(message.kind), encodeFrame({ role: 'secondary', term: term(0), message }));
  host.start();
  await until(() => kinds.includes('hello'));
  say({ kind: 'welcome', shape });
  await until(() => kinds.includes('vmstate'));
  say({ kind: 'checkpoint-ready', epoch: epoch(0) });
  await until(() => host.status().phase === 'protected');
  return { host, peer, say };
}

/** What this side was about when the first of its connections was closed. */
function atTheFirstClose(host: PrimaryHost, peer: FakeLink): { phase: string | undefined } {
  const found: { phase: string | undefined } = { phase: undefined };
  peer.closing = () => {
    found.phase ??= host.status().phase;
  };
  return found;
}

test('a primary has given up its consent when it closes a link to which nobody listens', async (t) => {
  const { host, peer } = await protectedPrimary(t);
  const found = atTheFirstClose(host, peer);
  // The link ends in the middle of what the core wants done, which is to say something.
  peer.pileUp('control', 2 ** 30);
  host.command({ name: 'checkpoint' });
  t.equal(peer.isClosed, true);
  t.equal(found.phase, 'waiting');
});

test('the same when the peer sends what no peer sends, or one connection breaks', async (t) => {
  for (const end of ['garbage', 'lost'] as const) {
    const { host, peer } = await protectedPrimary(t);
    const found = atTheFirstClose(host, peer);
    if (end === 'garbage') peer.deliver('control', new Uint8Array(64).fill(0xff));
    else peer.cut('pages', 'lost');
    t.equal(peer.isClosed, true, end);
    t.equal(found.phase, 'waiting', end);
  }
});

test('and when an operator ends it', async (t) => {
  const { host, peer } = await protectedPrimary(t);
  const found = atTheFirstClose(host, peer);
  host.command({ name: 'lost-heartbeat', sure: false });
  await until(() => peer.isClosed);
  t.not(found.phase, 'protected');
});

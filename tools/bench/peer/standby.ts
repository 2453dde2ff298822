import { createServer } from 'node:net';
import { OwnPackets } from '../../../src/colo/gate/own-packets.ts';
import { loadKeySet } from '../../../src/colo/keys/key-set.ts';
import type { PeerLink } from '../../../src/colo/link/peer-link.ts';
import { PeerListener } from '../../../src/colo/link/peer-listener.ts';
import { PageReceiver } from '../../../src/colo/memory/page-receiver.ts';
import { canWait } from '../../../src/colo/protocol/message-table.ts';
import type { Message } from '../../../src/colo/protocol/messages.ts';
import { epoch, term } from '../../../src/colo/protocol/numbers.ts';
import { EventFd } from '../../../src/host/events/eventfd.ts';
import { createPipe } from '../../../src/host/libc/descriptors.ts';
import { Doorbell } from '../../../src/host/threads/doorbell.ts';
import { Ram } from '../../../src/memory/ram.ts';
import { newSharedReplica } from '../../../src/vmm/platform/packet-rings.ts';
import { inThread } from '../../../test/support/thread.ts';
import type { StandbyOrder } from './peers.ts';
import { worked } from './round-trip.ts';

/** This process does S's part; where it listens is its first line. */
export async function serve({ job, keys, ramBytes }: StandbyOrder): Promise<void> {
  if (job === 'discard') {
    discard();
    return;
  }
  const listener = await PeerListener.start({
    ...{ host: '127.0.0.1', port: 0, role: 'secondary', patienceMs: 10_000 },
    security: keys === undefined ? { kind: 'plaintext' } : { kind: 'tls', keys: loadKeySet(keys) },
    linked: (link) => (job === 'pages' ? takePages(link, ramBytes) : runBeside(link)),
    refused: (reason) => process.stderr.write(`${reason}\n`),
  });
  process.stdout.write(`${listener.port}\n`);
}

/** What comes by TCP is counted, and said to have come: a number of bytes is asked for in front of it. */
function discard(): void {
  const server = createServer((socket) => {
    let left = -1;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      let at = 0;
      if (left < 0) {
        left = Number(chunk.readBigUInt64LE(0));
        at = 8;
      }
      left -= chunk.length - at;
      if (left === 0) {
        left = -1;
        socket.write('.');
      }
    });
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    process.stdout.write(`${typeof address === 'object' ? address?.port : ''}\n`);
  });
}

/** Stages a checkpoint, says that it has it, loads it, says that too. */
function takePages(link: PeerLink, ramBytes: number): void {
  const say = (message: Message): boolean => link.send({ role: 'secondary', term: term(1), message });
  const receiver = new PageReceiver(new Ram(ramBytes).shared);
  link.listen({
    received: ({ message }) => {
      if (message.kind === 'pages' || message.kind === 'pages-end') receiver.stage(message);
      if (message.kind !== 'pages-end') return;
      say({ kind: 'vmstate-received', epoch: message.epoch });
      void receiver.load(message.epoch).then(() => say({ kind: 'vmstate-loaded', epoch: message.epoch }));
    },
    drained: () => {},
    ended: () => process.exit(),
  });
}

/** S's packets in epoch 1, beside a guest that answers everything at once. */
function runBeside(link: PeerLink): void {
  const bell = new Doorbell();
  const wake = new EventFd();
  const shared = newSharedReplica(1, bell.button);
  const [, tap] = createPipe();
  const own = new OwnPackets({
    ...{ shared, taps: [tap], seed: 1 },
    send: (message) => link.send({ role: 'secondary', term: term(1), message }, canWait(message.kind)),
    flush: () => link.flush('packets'),
    post: ({ kind }) => {
      throw new Error(`what is said or heard piles up: ${kind}`);
    },
    now: () => performance.now(),
    wakeIo: () => wake.signal(),
  });
  own.begin(epoch(1));
  void worked(bell, () => own.work());
  void inThread(new URL('./threads.ts', import.meta.url), 'answerFeed', shared, wake.fd);
  link.listen({
    received: ({ message }) => {
      if (message.kind === 'input') own.letIn(message.card, message.data);
      else if (message.kind === 'output-confirmed') own.forget(message.items);
    },
    drained: () => own.drained(),
    ended: () => process.exit(),
  });
}

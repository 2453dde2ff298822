/** Threads of the round trip that are none of the colo thread's: each waits in epoll. Loaded by test/support/thread.ts. */

import { EPOLLIN, Epoll } from '../../../src/host/events/epoll.ts';
import { EventFd } from '../../../src/host/events/eventfd.ts';
import { type Fd, tryRead, tryWrite } from '../../../src/host/libc/descriptors.ts';
import { DoorbellButton } from '../../../src/host/threads/doorbell.ts';
import { RecordConsumer, RecordProducer } from '../../../src/host/threads/record-ring.ts';
import { kindOfCard } from '../../../src/vmm/platform/packet-rings.ts';
import type { SharedPackets, SharedReplica } from '../../../src/vmm/platform/shared-protection.ts';

const card = 0;
/** In which both guests run. */
const runningIn = 1;

/** A packet that says this ends the thread that gets it. */
export const lastNumber = 0xffff_ffff;
/** Where a request's number stands, from its end. */
const numberBytes = 4;

/**
 * P's io thread, and its guest, which says to each packet the same again. Without rings nothing is protected: answers leave by
 * themselves.
 */
export function answerRequests(
  requests: Fd,
  answers: Fd,
  bell: Fd,
  bytes: number,
  shared?: SharedPackets | undefined,
): void {
  const button = new DoorbellButton(bell);
  const rings = shared && [
    new RecordProducer(shared.mirror, () => button.ring()),
    new RecordProducer(shared.outbox, () => button.ring()),
  ];
  const packet = new Uint8Array(bytes);
  waiting(requests, () => {
    while (tryRead(requests, packet) > 0) {
      if (numberOf(packet) === lastNumber) return false;
      if (rings === undefined) tryWrite(answers, packet);
      else for (const ring of rings) put(ring, packet);
    }
    return true;
  });
}

/** S's io thread, and its guest, which says the same as P's. As long as its process lives. */
export function answerFeed({ feeds, outbox, bell }: SharedReplica, wake: Fd): void {
  const button = new DoorbellButton(bell);
  const event = new EventFd(wake);
  const feed = new RecordConsumer(feeds[card] as SharedArrayBuffer, () => button.ring());
  const says = new RecordProducer(outbox, () => button.ring());
  const take = (): boolean => {
    event.drain();
    do {
      while (feed.next()) {
        put(says, feed.bytes.subarray(feed.offset, feed.offset + feed.length));
        feed.giveBack();
      }
    } while (!feed.sleep());
    return true;
  };
  take();
  waiting(wake, take);
}

/** Asks one question after the other, and says how long each answer took, in microseconds. The first ones do not count. */
export function askAndWait(requests: Fd, answers: Fd, packet: Uint8Array, count: number, uncounted: number): number[] {
  const heard = new Uint8Array(packet.length);
  const view = new DataView(packet.buffer, packet.byteOffset);
  const took: number[] = [];
  let asked = 0;
  let askedAt = 0;
  const ask = (): void => {
    view.setUint32(packet.length - numberBytes, asked);
    askedAt = performance.now();
    tryWrite(requests, packet);
  };
  ask();
  waiting(answers, () => {
    while (tryRead(answers, heard) > 0) {
      if (numberOf(heard) !== asked) throw new Error(`request ${asked} was answered by ${numberOf(heard)}`);
      if (asked >= uncounted) took.push((performance.now() - askedAt) * 1000);
      if (++asked === uncounted + count) return false;
      ask();
    }
    return true;
  });
  view.setUint32(packet.length - numberBytes, lastNumber);
  tryWrite(requests, packet);
  return took;
}

function numberOf(packet: Uint8Array): number {
  return new DataView(packet.buffer, packet.byteOffset).getUint32(packet.length - numberBytes);
}

function put(ring: RecordProducer, packet: Uint8Array): void {
  const at = ring.reserve(packet.length);
  if (at < 0) throw new Error('a ring is full of what nobody takes');
  ring.bytes.set(packet, at);
  ring.commit(kindOfCard(card), runningIn);
}

/** Has `act` do what there is to do each time the descriptor can be read, until it says that it is over. */
function waiting(fd: Fd, act: () => boolean): void {
  const epoll = new Epoll();
  epoll.add(fd, EPOLLIN, 0);
  try {
    for (let goesOn = true; goesOn; ) {
      epoll.wait(-1, () => {
        goesOn = act();
      });
    }
  } finally {
    epoll.close();
  }
}

import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { EPOLLET, EPOLLIN, EPOLLOUT, Epoll } from '../../../../src/host/events/epoll.ts';
import { EventFd } from '../../../../src/host/events/eventfd.ts';
import { close, interfaceSocket, open, setSocketOption } from '../../../../src/host/libc/descriptors.ts';
import { memfd } from '../../../../src/host/libc/memory.ts';
import { Owner } from '../../../../src/host/ownership.ts';

const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;

function flagsOf(fd: number): number {
  return Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0', 8);
}

test('an eventfd takes signals and gives them as one', async (t) => {
  const eventFd = new EventFd();
  t.teardown(() => eventFd.close());
  t.equal(eventFd.drain(), false);
  eventFd.signal();
  eventFd.signal();
  t.equal(eventFd.drain(), true);
  t.equal(eventFd.drain(), false);
});

test('an eventfd and a memfd stay here when a program is started', async (t) => {
  const eventFd = new EventFd();
  const file = new EventFd(memfd('test', 4096));
  const opened = new EventFd(open('/dev/null', 0));
  t.teardown(() => {
    for (const each of [eventFd, file, opened]) each.close();
  });
  for (const { fd } of [eventFd, file, opened]) t.equal(flagsOf(fd) & O_CLOEXEC, O_CLOEXEC);
  t.equal(flagsOf(eventFd.fd) & O_NONBLOCK, O_NONBLOCK);
});

test('operations on a closed descriptor name it and the reason', async (t) => {
  const eventFd = new EventFd();
  eventFd.close();
  t.throws(() => eventFd.signal(), {
    code: 'EBADF',
    syscall: 'write',
    message: `write on eventfd ${eventFd.fd}: EBADF`,
  });
  t.throws(() => eventFd.drain(), { code: 'EBADF', syscall: 'read' });
});

test('epoll tells which descriptors are ready, by their tokens', async (t) => {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const epoll = owner.own(new Epoll());
  const [first, second] = [owner.own(new EventFd()), owner.own(new EventFd())];
  epoll.add(first.fd, EPOLLIN, 7);
  epoll.add(second.fd, EPOLLIN, 0x7fff_ffff);
  const ready = (): [number, number][] => {
    const found: [number, number][] = [];
    epoll.wait(0, (token, events) => found.push([token, events]));
    return found.sort((a, b) => a[0] - b[0]);
  };

  t.strictSame(ready(), []);
  second.signal();
  t.strictSame(ready(), [[0x7fff_ffff, EPOLLIN]]);
  first.signal();
  t.strictSame(ready(), [
    [7, EPOLLIN],
    [0x7fff_ffff, EPOLLIN],
  ]);
  second.drain();
  t.strictSame(ready(), [[7, EPOLLIN]]);
  epoll.remove(first.fd);
  t.strictSame(ready(), []);
});

test('epoll reports an edge once', async (t) => {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const epoll = owner.own(new Epoll());
  const eventFd = owner.own(new EventFd());
  epoll.add(eventFd.fd, EPOLLIN | EPOLLET, 1);
  eventFd.signal();
  t.equal(
    epoll.wait(0, () => {}),
    1,
  );
  t.equal(
    epoll.wait(0, () => {}),
    0,
  );
  eventFd.signal();
  t.equal(
    epoll.wait(0, () => {}),
    1,
  );
});

test('epoll waits no longer than told, and knows what can be written', async (t) => {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const epoll = owner.own(new Epoll());
  const started = performance.now();
  t.equal(
    epoll.wait(30, () => {}),
    0,
  );
  t.ok(performance.now() - started >= 25);
  const eventFd = owner.own(new EventFd());
  epoll.add(eventFd.fd, EPOLLIN | EPOLLOUT, 3);
  epoll.wait(-1, (token, events) => t.strictSame([token, events], [3, EPOLLOUT]));
});

test('epoll refuses what cannot be waited for', async (t) => {
  const epoll = new Epoll();
  t.teardown(() => epoll.close());
  const eventFd = new EventFd();
  epoll.add(eventFd.fd, EPOLLIN, 1);
  t.throws(() => epoll.add(eventFd.fd, EPOLLIN, 1), {
    code: 'EEXIST',
    message: `epoll_ctl on fd ${eventFd.fd}: EEXIST`,
  });
  eventFd.close();
  t.throws(() => epoll.remove(eventFd.fd), { code: 'EBADF' });
});

test('an option of a socket is set, or the failure says of what', async (t) => {
  const socket = interfaceSocket();
  t.teardown(() => close(socket));
  const [SOL_SOCKET, SO_REUSEADDR, ofNobody] = [1, 2, 9999];
  const yes = Uint8Array.of(1, 0, 0, 0);
  setSocketOption(socket, SOL_SOCKET, SO_REUSEADDR, yes, 'a socket');
  t.throws(() => setSocketOption(socket, SOL_SOCKET, ofNobody, yes, 'a socket'), {
    code: 'ENOPROTOOPT',
    message: /setsockopt.*a socket/,
  });
});

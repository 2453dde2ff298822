import t from 'tap';
import { EPOLLET, EPOLLIN } from '../../../../src/host/events/epoll.ts';
import { EventLoop, type ReadyHandler } from '../../../../src/host/events/event-loop.ts';
import { EventFd } from '../../../../src/host/events/eventfd.ts';

interface Test {
  teardown(clean: () => unknown): unknown;
}

function setUp(t: Test): { loop: EventLoop; first: EventFd; second: EventFd; calls: string[] } {
  const loop = new EventLoop();
  const first = new EventFd();
  const second = new EventFd();
  t.teardown(() => {
    loop.close();
    first.close();
    second.close();
  });
  return { loop, first, second, calls: [] };
}

function noting(calls: string[], name: string): ReadyHandler {
  return { ready: () => calls.push(name) };
}

t.test('calls the handlers of what is ready, and no others', async (t) => {
  const { loop, first, second, calls } = setUp(t);
  loop.watch(first.fd, EPOLLIN, noting(calls, 'first'));
  loop.watch(second.fd, EPOLLIN, noting(calls, 'second'));
  loop.turn(0);
  t.same(calls, []);
  second.signal();
  loop.turn(-1);
  t.same(calls, ['second']);
});

t.test('an edge is told once for each signal, without the counter being read', async (t) => {
  const { loop, first, calls } = setUp(t);
  loop.watch(first.fd, EPOLLIN | EPOLLET, noting(calls, 'first'));
  first.signal();
  loop.turn(0);
  loop.turn(0);
  t.same(calls, ['first']);
  first.signal();
  loop.turn(0);
  t.same(calls, ['first', 'first']);
});

t.test('a watch that was closed by another handler of the same turn is not called', async (t) => {
  const { loop, first, second, calls } = setUp(t);
  const watches = [first, second].map((eventFd, index) =>
    loop.watch(eventFd.fd, EPOLLIN, {
      ready: () => {
        calls.push(`handler ${index}`);
        for (const watch of watches) watch.close();
      },
    }),
  );
  first.signal();
  second.signal();
  loop.turn(0);
  loop.turn(0);
  t.equal(calls.length, 1);
});

t.test('waits for other events after a change', async (t) => {
  const { loop, first, calls } = setUp(t);
  const watch = loop.watch(first.fd, 0, noting(calls, 'first'));
  first.signal();
  loop.turn(0);
  t.same(calls, []);
  watch.change(EPOLLIN);
  loop.turn(0);
  t.same(calls, ['first']);
});

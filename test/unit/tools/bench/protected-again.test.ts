import { test } from 'tap';
import type { ColoEvent } from '../../../../src/vmm/monitor/colo-control.ts';
import { againFigures, againOf, formatAgain } from '../../../../tools/bench/protected-again.ts';

const event = (at: number, topic: ColoEvent['topic'], text: string, word?: ColoEvent['event']): ColoEvent => ({
  ...{ at, monotonicMs: at, topic, text },
  ...(word === undefined ? {} : { event: word }),
});

const log: readonly ColoEvent[] = [
  event(400, 'protection', 'PROTECTING a (term 1)', 'protected'),
  event(450, 'pair', 'connected to somebody before'),
  event(1010, 'peer', 'the primary is gone', 'peer-lost'),
  event(1030, 'takeover', 'this side goes on, from epoch 7, in term 2', 'failover'),
  event(1040, 'speaking', 'the guest runs here'),
  event(1340, 'pair', 'connected to c'),
  event(1350, 'disk', 'disks: 1.0 MiB of 4.0 MiB may differ'),
  event(1450, 'checkpoint', '0: the guest was stopped for 1.2 ms'),
  event(1455, 'protection', 'PROTECTED by c (term 2)', 'protected'),
];

test('time until a guest is protected again is parted by what the survivor logged', async (t) => {
  const again = againOf(1000, log, 30);
  t.same(again, {
    detected: 10,
    'taken over': 30,
    'found by a standby': 300,
    agreed: 10,
    'disks made equal': 30,
    'RAM copied': 70,
    'first checkpoint': 5,
  });
  const figures = againFigures([again, { ...again, detected: 110 }]);
  t.match(figures, { count: 2, parts: { detected: 60 }, total: { median: 505, worst: 555 } });
  t.match(figures && formatAgain(figures).join(), /^protected again 505 ms .* 555 at worst, of 2.*RAM copied 70/);
  t.equal(againFigures([]), undefined);
});

test('a log that lacks a part says which', async (t) => {
  t.throws(() => againOf(1000, log.slice(0, -1), 30), { message: /does not say that the guest is protected/ });
  t.throws(() => againOf(1400, log, 30), { message: /the primary was lost/ });
});

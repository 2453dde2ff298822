import { test } from 'tap';
import { TurnShare } from '../../../../src/devices/virtio/takes-turns.ts';
import { MiB } from '../../../../src/memory/address.ts';

/** How many requests like this a turn takes. */
function requestsOf(share: TurnShare, bytes: number, buffers: number): number {
  share.begin();
  let count = 1;
  while (!share.spend(bytes, buffers)) count++;
  return count;
}

const still = { now: () => 0 };

test('a turn is over after so many requests, each turn anew', async (t) => {
  const share = new TurnShare({ requests: 100, ...still });
  t.equal(requestsOf(share, 0, 0), 100);
  t.equal(requestsOf(share, 0, 0), 100);
});

test('a turn is over after so many bytes, and a request that is longer is a turn', async (t) => {
  const share = new TurnShare({ requests: 100, bytes: MiB, ...still });
  t.equal(requestsOf(share, MiB / 4, 0), 4);
  t.equal(requestsOf(share, 100 * MiB, 0), 1);
});

test('buffers are work, also where they hold next to nothing', async (t) => {
  const share = new TurnShare({ requests: 1000, bytes: MiB, ...still });
  t.equal(requestsOf(share, 512, 254), 5);
});

test('a turn is over when it has taken its time, however little it did', async (t) => {
  let now = 1000;
  const share = new TurnShare({
    requests: 1024,
    ms: 5,
    now: () => {
      now += 1;
      return now;
    },
  });
  t.equal(requestsOf(share, 0, 0), 16 * 6, 'five milliseconds after the first look at the clock');
  now += 10_000;
  t.equal(requestsOf(share, 0, 0), 16 * 6, 'counted from the beginning of the turn');
});

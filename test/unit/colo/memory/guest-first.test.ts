import { test } from 'tap';
import { GuestFirst, restMs } from '../../../../src/colo/memory/guest-first.ts';

test('work rests three times as long as it kept the guest waiting', async (t) => {
  t.equal(restMs(10, 0, 0), 0, 'nobody waited');
  t.equal(restMs(10, 4, 0), 12, 'for a processor');
  t.equal(restMs(10, 0, 0.5), 15, 'for this thread');
  t.equal(restMs(10, 3, 0.2), 15, 'for both');
  t.equal(restMs(10, 35, 0), 30, 'of several vCPUs no more than the work took');
  t.equal(restMs(10, 8, 1), 30);
  t.equal(restMs(10, -1, 0), 0, 'a vCPU that is gone');
  t.equal(restMs(5000, 5000, 1), 500, 'whoever waits for the work waits no longer than that for the next piece');
});

/** A thread on which time passes as it is told. */
class Thread {
  now = 0;
  /** How long it has run. */
  worked = 0;
  guestWaited = 0;
  passes = 0;
  readonly rests: number[] = [];
  /** Called when others have their turn. */
  others: () => void = () => {};
  /** Called in each rest. */
  meanwhile: () => void = () => {};
  readonly work = new GuestFirst({
    now: () => this.now,
    worked: () => this.worked,
    waited: () => this.guestWaited,
    rest: async (ms) => {
      this.rests.push(ms);
      this.now += ms;
      this.meanwhile();
    },
    pass: async () => {
      this.passes++;
      this.others();
    },
  });

  /** A piece of work, and the guest's threads wait for a processor meanwhile. */
  async piece(ms: number, guestWaits = 0): Promise<void> {
    this.now += ms;
    this.worked += ms;
    this.guestWaited += guestWaits;
    await this.work.next();
  }
}

test('work is looked at once it has lasted, and what passes during a rest is not its fault', async (t) => {
  const thread = new Thread();
  thread.meanwhile = () => {
    thread.guestWaited += 50;
    thread.work.guestCame();
  };
  thread.work.begin();
  await thread.piece(3, 3);
  t.strictSame(thread.rests, []);
  await thread.piece(3, 1);
  t.strictSame(thread.rests, [12], 'both pieces together');
  await thread.piece(6);
  await thread.piece(100);
  t.strictSame(thread.rests, [12], 'nobody waited');
  await thread.piece(10, 10);
  t.strictSame(thread.rests, [12, 30]);
});

test('others on the thread have their turn after a millisecond, and the guest that comes then has waited', async (t) => {
  const thread = new Thread();
  thread.work.begin();
  await thread.piece(0.5);
  t.equal(thread.passes, 0, 'a turn lasts');
  await thread.piece(0.5);
  t.equal(thread.passes, 1);
  thread.others = () => thread.work.guestCame();
  await thread.piece(1);
  thread.others = () => {};
  await thread.piece(1);
  await thread.piece(1);
  t.equal(thread.passes, 4);
  t.strictSame(thread.rests, [3], 'it came in one of four turns');
  thread.others = () => {
    thread.work.guestCame();
    thread.now += 20;
    thread.worked += 20;
    thread.work.guestServed();
  };
  await thread.piece(2);
  await thread.piece(2);
  t.strictSame(thread.rests, [3, 6, 6], 'what is done for the guest is none of the work');
});

test('a guest that comes while the work waits for somebody else has not waited, and that time is none of the work', async (t) => {
  const thread = new Thread();
  thread.work.begin();
  await thread.piece(2, 2);
  thread.now += 1000;
  thread.work.guestCame();
  thread.work.begin();
  await thread.piece(2, 1);
  t.strictSame(thread.rests, [9]);
});

test('of several that share it, one rests for all', async (t) => {
  let rested = (): void => {};
  let rests = 0;
  let now = 0;
  const work = new GuestFirst({
    now: () => now,
    worked: () => now,
    waited: () => now,
    rest: () => {
      rests++;
      return new Promise<void>((resolve) => {
        rested = resolve;
      });
    },
    pass: async () => {},
  });
  work.begin();
  now += 5;
  const done: string[] = [];
  const one = work.next().then(() => done.push('one'));
  await new Promise(setImmediate);
  t.equal(rests, 1);
  work.begin();
  now += 5;
  const other = work.next().then(() => done.push('other'));
  await new Promise(setImmediate);
  t.strictSame(done, []);
  rested();
  await Promise.all([one, other]);
  t.equal(rests, 1);
  t.strictSame(done.sort(), ['one', 'other']);
});

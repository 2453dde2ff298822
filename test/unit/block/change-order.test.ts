import { test } from 'tap';
import { type Change, ChangeOrder } from '../../../src/block/change-order.ts';
import { randomNumbers } from '../../support/random.ts';

interface TestChange extends Change {
  running: boolean;
}

function change(first: number, end: number, merges: boolean, log: string[] = []): TestChange {
  return {
    first,
    end,
    merges,
    waits: false,
    running: false,
    go() {
      this.running = true;
      log.push(`${first}-${end}`);
    },
  };
}

function begin(order: ChangeOrder, next: TestChange): boolean {
  next.running = order.begin(next);
  return next.running;
}

test('changes that merge wait for those before them that overlap, and for no others', async (t) => {
  const order = new ChangeOrder();
  const log: string[] = [];
  const plain = change(0, 8, false, log);
  const merging = change(4, 8, true, log);
  t.equal(begin(order, plain), true);
  t.equal(begin(order, change(0, 8, false)), true, 'plain ones overlap as they like');
  t.equal(begin(order, merging), false);
  t.equal(begin(order, change(8, 12, true)), true, 'it touches, and does not overlap');
  const behind = change(6, 7, false, log);
  t.equal(begin(order, behind), false, 'nor may one come in between while it waits');
  order.end(plain);
  t.strictSame(log, [], 'the other plain one is under way');
});

test('whoever waits goes when the last one before it is done, in order', async (t) => {
  const order = new ChangeOrder();
  const log: string[] = [];
  const changes = [change(0, 4, true), change(0, 2, true, log), change(2, 4, true, log), change(0, 4, false, log)];
  t.strictSame(
    changes.map((next) => begin(order, next)),
    [true, false, false, false],
  );
  order.end(changes[0] as Change);
  t.strictSame(log, ['0-2', '2-4']);
  order.end(changes[2] as Change);
  t.equal(log.length, 2);
  order.end(changes[1] as Change);
  t.strictSame(log, ['0-2', '2-4', '0-4']);
});

test('one that is done as soon as it goes lets go the next', async (t) => {
  const order = new ChangeOrder();
  const done: number[] = [];
  const chain = Array.from({ length: 100 }, (_, index) => ({
    ...change(0, 1, true),
    go() {
      done.push(index);
      order.end(this);
    },
  }));
  t.equal(order.begin(chain[0] as Change), true);
  for (const next of chain.slice(1)) t.equal(order.begin(next), false);
  order.end(chain[0] as Change);
  t.strictSame(
    done,
    Array.from({ length: 99 }, (_, index) => index + 1),
  );
  t.equal(order.begin(change(0, 1, true)), true, 'nothing is left');
});

test('at no time do two run that overlap and of which one merges; and all run in the end', async (t) => {
  const random = randomNumbers(7);
  let wrong: string | undefined;
  for (let round = 0; round < 200 && wrong === undefined; round++) {
    const order = new ChangeOrder();
    const open: TestChange[] = [];
    let ended = 0;
    const check = (): boolean =>
      open.every((one) =>
        open.every(
          (other) =>
            one === other ||
            !(one.running && other.running && (one.merges || other.merges)) ||
            one.first >= other.end ||
            other.first >= one.end,
        ),
      );
    for (let step = 0; step < 60; step++) {
      const running = open.filter(({ running }) => running);
      if (step < 40 && (random(2) === 0 || running.length === 0)) {
        const first = random(8);
        const next = change(first, first + 1 + random(4), random(2) === 0);
        open.push(next);
        begin(order, next);
      } else {
        const one = running[random(running.length)];
        if (one === undefined) break;
        open.splice(open.indexOf(one), 1);
        order.end(one);
        ended++;
      }
      if (!check()) wrong = `two at once in round ${round}, step ${step}`;
    }
    while (open.length > 0) {
      const one = open.find(({ running }) => running);
      if (one === undefined) {
        wrong = `${open.length} wait for nobody`;
        break;
      }
      open.splice(open.indexOf(one), 1);
      order.end(one);
      ended++;
    }
    if (ended < 20) wrong ??= `too little was tried in round ${round}`;
  }
  t.equal(wrong, undefined);
});

import { test } from 'tap';
import { Lane } from '../../../../src/colo/side/lane.ts';

test('a piece begins when the one before is over', async (t) => {
  const events: string[] = [];
  const lane = new Lane(() => {});
  let finish: () => void = () => {};
  lane.do(async () => {
    events.push('first begins');
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
    events.push('first ends');
  });
  lane.do(() => {
    events.push('second');
  });
  await new Promise(setImmediate);
  t.strictSame(events, ['first begins']);
  t.notOk(lane.isIdle);
  finish();
  await lane.done;
  t.strictSame(events, ['first begins', 'first ends', 'second']);
  t.ok(lane.isIdle);
});

test('a piece that fails is told of, and the next one is done all the same', async (t) => {
  const failures: string[] = [];
  const lane = new Lane(({ message }) => failures.push(message));
  let done = false;
  lane.do(() => {
    throw new Error('no machine');
  });
  lane.do(async () => {
    done = true;
  });
  await lane.done;
  t.strictSame(failures, ['no machine']);
  t.ok(done);
});

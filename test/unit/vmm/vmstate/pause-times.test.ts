import t from 'tap';
import { PauseTimes, pauseParts } from '../../../../src/vmm/vmstate/pause-times.ts';

t.test('what passes before a part is done counts for it, and not what the caller did before it began', async (t) => {
  let now = 1000;
  const times = new PauseTimes(() => now);
  times.restart();
  now += 3;
  times.done('vcpus');
  now += 1;
  times.done('io');
  now += 50;
  times.begin();
  now += 2;
  times.done('resume');
  t.strictSame([times.ms('vcpus'), times.ms('io'), times.ms('resume'), times.ms('clocks')], [3, 1, 2, 0]);
});

t.test('a part that comes twice is added up, until the next pause', async (t) => {
  let now = 0;
  const times = new PauseTimes(() => now);
  times.restart();
  for (let time = 0; time < 2; time++) {
    times.begin();
    now += 2;
    times.done('registers');
  }
  t.equal(times.ms('registers'), 4);
  times.restart();
  for (const part of pauseParts) t.equal(times.ms(part), 0, part);
});

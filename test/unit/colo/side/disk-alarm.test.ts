import { test } from 'tap';
import { DiskAlarm } from '../../../../src/colo/side/disk-alarm.ts';
import { EventLog } from '../../../../src/colo/side/event-log.ts';

const minute = 60_000;
const [root, data] = ['disk root cannot be written: ENOSPC', 'disk data cannot be read: EIO'];

function alarm() {
  const told: string[] = [];
  const log = new EventLog(
    () => 0,
    ({ topic, text, event }) => told.push(`${topic} ${event} ${text}`),
  );
  const clock = { now: 0 };
  return { disks: new DiskAlarm(log, () => clock.now), clock, told };
}

test('two disks that fail by turns are told of once each', async (t) => {
  const { disks, clock, told } = alarm();
  // As long as both fail all the time.
  for (; clock.now < 60 * minute; clock.now += 1000) {
    disks.failed(root);
    disks.failed(data);
  }
  t.strictSame(told, [`disk disk-error ${root}`, `disk disk-error ${data}`]);
  disks.failed('disk root cannot be written: EIO');
  t.equal(told.length, 3, 'that is another failure');
});

test('a disk that is full again once its guest was resumed is told of again', async (t) => {
  const { disks, told } = alarm();
  disks.failed(root);
  disks.resumed();
  disks.failed(root);
  disks.failed(root);
  t.equal(told.length, 2);
});

test('and so is one that fails again after it was well for some time', async (t) => {
  const { disks, clock, told } = alarm();
  disks.failed(root);
  clock.now += 9 * minute;
  disks.failed(root);
  t.equal(told.length, 1);
  clock.now += 10 * minute;
  disks.failed(root);
  t.equal(told.length, 2);
});

import { test } from 'tap';
import { Announcement } from '../../../../src/vmm/machine/announcement.ts';
import { until } from '../../../support/machines.ts';

test('announces at once, and four times more', async (t) => {
  let sent = 0;
  const announcement = new Announcement(() => sent++);
  announcement.start();
  t.equal(sent, 1);
  await until(() => sent === 5);
});

test('one that is stopped sends nothing more, and one that begins anew does not add to itself', async (t) => {
  let sent = 0;
  const announcement = new Announcement(() => sent++);
  announcement.start();
  announcement.start();
  t.equal(sent, 2);
  announcement.stop();
  let others = 0;
  new Announcement(() => others++).start();
  await until(() => others === 5);
  t.equal(sent, 2, 'by the time that another one is through');
});

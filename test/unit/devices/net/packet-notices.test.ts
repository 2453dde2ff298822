import { test } from 'tap';
import { PacketNotices } from '../../../../src/devices/net/packet-notices.ts';

/** A driver that counts what it is shown and how often it is interrupted; it waits until it `looks`. */
function rig() {
  const driver = { added: 0, seen: 0, shows: 0, interrupts: 0, waits: true };
  const notices = new PacketNotices(
    {
      publish: () => {
        driver.shows++;
        const wants = driver.waits && driver.seen < driver.added;
        driver.seen = driver.added;
        return wants;
      },
    },
    { interruptQueue: () => driver.interrupts++ },
  );
  const add = (packets: number, bytes: number): void => {
    for (let packet = 0; packet < packets; packet++) {
      driver.added++;
      notices.add(bytes);
    }
  };
  return { driver, notices, add };
}

test('shows packets by the sixteen, and interrupts for none before the end', async (t) => {
  const { driver, notices, add } = rig();
  add(15, 100);
  t.match(driver, { shows: 0, interrupts: 0 });
  add(1, 100);
  t.match(driver, { seen: 16, interrupts: 0 });
  add(3, 100);
  t.equal(driver.seen, 16);
  notices.publish();
  t.match(driver, { seen: 19, interrupts: 1 });
});

test('shows long packets sooner', async (t) => {
  const { driver, add } = rig();
  add(1, 65_535);
  t.equal(driver.seen, 0);
  add(1, 1);
  t.equal(driver.seen, 2);
});

test('interrupts for what was shown on the way, even if nothing is new at the end', async (t) => {
  const { driver, notices, add } = rig();
  add(16, 100);
  notices.publish();
  t.match(driver, { seen: 16, interrupts: 1 });
  notices.publish();
  t.equal(driver.interrupts, 1, 'once');
});

test('interrupts nobody who looks by himself', async (t) => {
  const { driver, notices, add } = rig();
  driver.waits = false;
  add(40, 100);
  notices.publish();
  t.match(driver, { seen: 40, interrupts: 0 });
});

test('interrupts with every fourth turn while there is more to come', async (t) => {
  const { driver, notices, add } = rig();
  const interrupts = Array.from({ length: 9 }, () => {
    add(1, 100);
    notices.endTurn();
    return driver.interrupts;
  });
  t.strictSame(interrupts, [0, 0, 0, 1, 1, 1, 1, 2, 2]);
  t.equal(driver.seen, 9, 'each turn shows what there is');
});

test('counts turns from the last interrupt', async (t) => {
  const { driver, notices, add } = rig();
  for (let turn = 0; turn < 3; turn++) {
    add(1, 100);
    notices.endTurn();
  }
  notices.publish();
  t.equal(driver.interrupts, 1);
  add(1, 100);
  notices.endTurn();
  t.equal(driver.interrupts, 1);
});

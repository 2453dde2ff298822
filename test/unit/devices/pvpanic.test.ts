import { test } from 'tap';
import { PvPanic } from '../../../src/devices/pvpanic.ts';

test('takes panics, and says that it takes nothing else', async (t) => {
  let panics = 0;
  const device = new PvPanic(() => panics++);
  t.equal(device.read(), 1);
  for (let value = 0; value < 256; value += 2) device.write(0, 1, value);
  t.equal(panics, 0);
  device.write(0, 1, 1);
  t.equal(panics, 1);
});

import { test } from 'tap';
import { IoBus } from '../../../src/devices/io-bus.ts';
import type { IoDevice } from '../../../src/devices/io-device.ts';

/** A device that notes what it is asked. */
function recorder(answer = 0): { device: IoDevice; accesses: string[] } {
  const accesses: string[] = [];
  return {
    accesses,
    device: {
      read: (offset, size) => {
        accesses.push(`read ${offset} ${size}`);
        return answer;
      },
      write: (offset, size, value) => {
        accesses.push(`write ${offset} ${size} ${value}`);
      },
    },
  };
}

test('hands an access to the device that has the address, as an offset', async (t) => {
  const bus = new IoBus();
  const [first, second] = [recorder(5), recorder(6)];
  bus.map(0x3f8, 8, first.device);
  bus.map(0x400, 1, second.device);
  t.equal(bus.read(0x3ff, 1), 5);
  t.equal(bus.read(0x400, 2), 6);
  bus.write(0x3f8, 4, 0xffff_ffff);
  t.strictSame(first.accesses, ['read 7 1', 'write 0 4 4294967295']);
  t.strictSame(second.accesses, ['read 0 2']);
});

test('reads all ones, as wide as the access, where nobody is; writes go nowhere', async (t) => {
  const bus = new IoBus();
  const { device, accesses } = recorder();
  bus.map(0x10, 4, device);
  for (const address of [0, 0xf, 0x14, 0xffff, 0xffff_ffff_f000]) {
    t.equal(bus.read(address, 1), 0xff);
    t.equal(bus.read(address, 2), 0xffff);
    t.equal(bus.read(address, 4), 0xffff_ffff);
    bus.write(address, 1, 1);
  }
  t.strictSame(accesses, []);
});

test('refuses a range that overlaps another, in whichever way', async (t) => {
  const bus = new IoBus();
  const { device } = recorder();
  bus.map(0x100, 0x10, device);
  for (const [start, length] of [
    [0x100, 0x10],
    [0xf8, 9],
    [0x10f, 1],
    [0x104, 2],
    [0, 0x1000],
  ] as const) {
    t.throws(() => bus.map(start, length, device), { message: new RegExp(`0x${start.toString(16)}.* is taken`) });
  }
  t.doesNotThrow(() => bus.map(0xf8, 8, device), 'up to it');
  t.doesNotThrow(() => bus.map(0x110, 1, device), 'behind it');
});

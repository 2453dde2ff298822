import { test } from 'tap';
import { PciHost, pciHostState } from '../../../src/devices/pci-host.ts';

const noReset = (): void => {};

/** Configuration space as a driver reads it by mechanism #1. */
function config(host: PciHost, functionAndRegister: number, size = 4, byte = 0): number {
  host.write(0, 4, (0x8000_0000 + functionAndRegister) >>> 0);
  return host.read(4 + byte, size);
}

test('Linux finds configuration mechanism #1 as it looks for it, and a host bridge behind it', async (t) => {
  const host = new PciHost(pciHostState(), noReset);
  host.write(3, 1, 1);
  const before = host.read(0, 4);
  t.equal(before, 0, 'a byte to 0xcfb is for another mechanism');
  host.write(0, 4, 0x8000_0000);
  t.equal(host.read(0, 4), 0x8000_0000);
  host.write(0, 4, before);
  t.equal(config(host, 0x08, 2, 2), 0x0600, 'class: host bridge');
  t.equal(config(host, 0x00, 2, 0), 0x8086);
  t.equal(config(host, 0x00, 2, 2), 0x1237);
  t.equal(config(host, 0x0c, 1, 2), 0, 'one function, plain header');
});

test('nothing else is on any bus', async (t) => {
  const host = new PciHost(pciHostState(), noReset);
  for (let bus = 0; bus < 256; bus++) {
    for (let devfn = bus === 0 ? 1 : 0; devfn < 256; devfn++) {
      if (config(host, (bus << 16) | (devfn << 8)) !== 0xffff_ffff) t.fail(`${bus}:${devfn}`);
    }
  }
  t.equal(config(host, 1 << 8, 2), 0xffff);
  t.equal(config(host, 1 << 8, 1), 0xff);
});

test('without the enable bit there is nothing, and nothing can be written', async (t) => {
  const host = new PciHost(pciHostState(), noReset);
  host.write(0, 4, 0);
  t.equal(host.read(4, 4), 0xffff_ffff);
  host.write(0, 4, 0x8000_0000);
  for (let offset = 1; offset < 8; offset++) for (const size of [1, 2, 4]) host.write(offset, size, 0xffff_ffff);
  t.equal(host.read(0, 4), 0x8000_0000);
  t.equal(config(host, 0), 0x1237_8086);
  t.equal(config(host, 4), 0);
});

test('whatever is read anywhere is a number of its size', async (t) => {
  const host = new PciHost(pciHostState(), noReset);
  for (const address of [0, 0x8000_0000, 0x8000_0008, 0xffff_ffff, 0x7fff_ffff, 0x80ff_ff00]) {
    host.write(0, 4, address);
    for (let offset = 0; offset < 8; offset++) {
      for (const size of [1, 2, 4]) {
        const value = host.read(offset, size);
        if (!(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size))) t.fail(`${address} ${offset} ${size}`);
      }
    }
  }
  t.equal(host.address, 0x80ff_ff00);
});

test('threads that share the state share the address register', async (t) => {
  const state = pciHostState();
  new PciHost(state, noReset).write(0, 4, 0x8000_0008);
  t.equal(new PciHost(pciHostState(state.buffer), noReset).read(4, 4), 0x0600_0000);
});

test('a byte with bit 2 to the reset register resets, and nothing else does', async (t) => {
  let resets = 0;
  const host = new PciHost(pciHostState(), () => resets++);
  for (let value = 0; value < 256; value++) {
    for (let offset = 0; offset < 8; offset++) if (offset !== 1) host.write(offset, 1, value);
    for (const size of [2, 4]) host.write(1, size, value);
    if ((value & 4) === 0) host.write(1, 1, value);
  }
  t.equal(resets, 0);
  // As Linux does it for `reboot=p`: first the kind of reset, then the reset.
  const before = host.read(1, 1) & ~0x0e;
  host.write(1, 1, before | 0x02);
  t.equal(resets, 0);
  host.write(1, 1, before | 0x0e);
  t.equal(resets, 1);
  t.equal(host.address, 0, 'the address register is another one');
});

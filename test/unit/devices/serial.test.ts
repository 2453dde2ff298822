import { test } from 'tap';
import { cell, receiveRingBytes, transmitRingBytes } from '../../../src/devices/serial-state.ts';
import { inThread } from '../../support/thread.ts';
import { reg, serialRig } from './serial-rig.ts';

const IER_RX = 1;
const IER_TX = 2;
const IER_LINE = 4;
const IIR_NONE = 1;
const IIR_TX = 2;
const IIR_RX = 4;
const IIR_LINE = 6;
const LSR_READY = 1;
const LSR_OVERRUN = 2;
const LSR_IDLE = 0x60;

function letters(text: string): number[] {
  return [...Buffer.from(text, 'latin1')];
}

test('is found to be a 16550A by the probe of the 8250 driver', async (t) => {
  const port = serialRig();
  // autoconfig(): IER keeps its low four bits alone
  port.write(reg.ier, 0);
  t.equal(port.read(reg.ier), 0);
  port.write(reg.ier, 0xff);
  t.equal(port.read(reg.ier), 0x0f);
  port.write(reg.ier, 0);
  // loopback brings the modem outputs back as inputs
  port.write(reg.mcr, 0x10 | 0x0a);
  t.equal(port.read(reg.msr) & 0xf0, 0x90);
  port.write(reg.mcr, 0);
  // the FIFOs of a 16550A work
  port.write(reg.fcr, 1);
  t.equal(port.read(reg.iir) >> 6, 3);
  port.write(reg.fcr, 0);
  t.equal(port.read(reg.iir) >> 6, 0);
  // the scratch register holds
  for (const value of [0x55, 0xaa]) {
    port.write(reg.scr, value);
    t.equal(port.read(reg.scr), value);
  }
});

test('feeds every modem output back in loopback, and shows a connected terminal otherwise', async (t) => {
  const port = serialRig();
  t.equal(port.read(reg.msr), 0xb0);
  for (const [output, input] of [
    [0x01, 0x20], // DTR -> DSR
    [0x02, 0x10], // RTS -> CTS
    [0x04, 0x40], // OUT1 -> RI
    [0x08, 0x80], // OUT2 -> DCD
  ] as const) {
    port.write(reg.mcr, 0x10 | output);
    t.equal(port.read(reg.msr), input);
  }
});

test('keeps the divisor apart from data and interrupts', async (t) => {
  const port = serialRig();
  port.write(reg.ier, 5);
  port.write(reg.lcr, 0x80);
  port.write(reg.data, 0x0c);
  port.write(reg.ier, 0x01);
  t.strictSame([port.read(reg.data), port.read(reg.ier)], [0x0c, 0x01]);
  port.write(reg.lcr, 0x03);
  t.equal(port.read(reg.ier), 5);
  t.equal(port.read(reg.lcr), 3);
  t.equal(port.sent(), '', 'the divisor was not sent');
});

test('is idle after reset: nothing pending, transmitter empty, pin low', async (t) => {
  const port = serialRig();
  t.equal(port.read(reg.iir), IIR_NONE);
  t.equal(port.read(reg.lsr), LSR_IDLE);
  t.equal(port.level, false);
});

test('sends what is written, in order', async (t) => {
  const port = serialRig();
  for (const letter of letters('hello')) port.write(reg.data, letter);
  t.equal(port.sent(), 'hello');
  t.equal(port.sent(), '');
});

test('takes only the low byte of a wide access', async (t) => {
  const port = serialRig();
  port.serial.write(reg.data, 4, 0x1234_5641);
  t.equal(port.sent(), 'A');
});

test('raises the pin for an empty transmitter as soon as that is enabled', async (t) => {
  const port = serialRig();
  port.enable(IER_TX);
  t.strictSame(port.levels, [true]);
  t.equal(port.read(reg.iir), IIR_TX);
});

test('lowers the pin when IIR tells of the empty transmitter, and raises it again after each refill', async (t) => {
  const port = serialRig();
  port.enable(IER_TX);
  for (let round = 0; round < 3; round++) {
    t.equal(port.read(reg.iir), IIR_TX);
    t.equal(port.level, false);
    t.equal(port.read(reg.iir), IIR_NONE);
    port.write(reg.data, 0x41 + round);
    t.equal(port.level, true, 'an edge for every refill');
  }
  t.equal(port.sent(), 'ABC');
  t.strictSame(port.levels, [true, false, true, false, true, false, true]);
});

test('raises the pin again when the transmit interrupt is turned off and on', async (t) => {
  const port = serialRig();
  port.enable(IER_TX);
  port.read(reg.iir);
  port.write(reg.ier, 0);
  t.equal(port.level, false);
  port.write(reg.ier, IER_TX);
  t.equal(port.level, true);
});

test('raises the pin for input, until the last byte is read', async (t) => {
  const port = serialRig();
  port.enable(IER_RX);
  t.equal(port.level, false);
  port.serial.receive(Buffer.from('ab'));
  t.strictSame(port.levels, [true]);
  t.equal(port.read(reg.iir), IIR_RX);
  t.equal(port.read(reg.lsr), LSR_IDLE | LSR_READY);
  t.equal(port.read(reg.data), 'a'.charCodeAt(0));
  t.equal(port.level, true);
  t.equal(port.read(reg.data), 'b'.charCodeAt(0));
  t.equal(port.level, false);
  t.equal(port.read(reg.lsr), LSR_IDLE);
  t.equal(port.read(reg.data), 0, 'nothing more');
});

test('tells of input first, then of the transmitter', async (t) => {
  const port = serialRig();
  port.enable(IER_RX | IER_TX);
  port.serial.receive(Buffer.from('x'));
  t.equal(port.read(reg.iir), IIR_RX);
  t.equal(port.read(reg.iir), IIR_RX, 'reading IIR does not clear it');
  port.read(reg.data);
  t.equal(port.read(reg.iir), IIR_TX);
  t.equal(port.read(reg.iir), IIR_NONE);
});

test('keeps input that comes before the interrupt is enabled', async (t) => {
  const port = serialRig();
  port.serial.receive(Buffer.from('early'));
  t.equal(port.level, false);
  port.enable(IER_RX);
  t.equal(port.level, true);
  t.equal(port.read(reg.data), 'e'.charCodeAt(0));
});

test('holds the pin low as long as OUT2 does not gate it, or in loopback', async (t) => {
  const port = serialRig();
  port.write(reg.ier, IER_TX);
  t.equal(port.level, false, 'OUT2 off');
  port.write(reg.mcr, 0x08);
  t.equal(port.level, true);
  port.write(reg.mcr, 0x18);
  t.equal(port.level, false, 'loopback');
});

test('loops bytes back to the receiver, and sends none', async (t) => {
  const port = serialRig();
  port.write(reg.mcr, 0x10);
  port.write(reg.data, 0x42);
  t.equal(port.read(reg.lsr) & LSR_READY, LSR_READY);
  t.equal(port.read(reg.data), 0x42);
  t.equal(port.sent(), '');
});

test('tells of an overrun once, and lowers its interrupt with it', async (t) => {
  const port = serialRig();
  port.write(reg.mcr, 0x18);
  port.write(reg.ier, IER_LINE);
  for (let count = 0; count <= receiveRingBytes; count++) port.write(reg.data, 0x55);
  port.write(reg.mcr, 0x08);
  t.equal(port.level, true);
  t.equal(port.read(reg.iir), IIR_LINE);
  t.equal(port.read(reg.lsr) & LSR_OVERRUN, LSR_OVERRUN);
  t.equal(port.level, false);
  t.equal(port.read(reg.lsr) & LSR_OVERRUN, 0);
});

test('forgets received bytes when the FIFO is cleared', async (t) => {
  const port = serialRig();
  port.enable(IER_RX);
  port.serial.receive(Buffer.from('old'));
  port.write(reg.fcr, 0x03);
  t.equal(port.level, false);
  t.equal(port.read(reg.lsr) & LSR_READY, 0);
  port.serial.receive(Buffer.from('new'));
  t.equal(port.read(reg.data), 'n'.charCodeAt(0));
});

test('takes as much input as there is room for, and rings when the guest has read it', async (t) => {
  const port = serialRig();
  const input = Buffer.alloc(receiveRingBytes + 10, 'i');
  const rings = port.rings;

  t.equal(port.serial.receive(input), receiveRingBytes);
  t.equal(port.serial.receive(input, receiveRingBytes), 0, 'no room');
  for (let count = 1; count < receiveRingBytes; count++) port.read(reg.data);
  t.equal(port.rings, rings, 'not before it is empty');
  port.read(reg.data);
  t.equal(port.rings, rings + 1);
  t.equal(port.serial.receive(input, receiveRingBytes), 10);
});

test('does not ring for room when the host holds nothing back', async (t) => {
  const port = serialRig();
  port.serial.receive(Buffer.from('a'));
  const rings = port.rings;
  port.read(reg.data);
  t.equal(port.rings, rings);
});

test('rings for held-back input when the FIFO is cleared', async (t) => {
  const port = serialRig();
  port.serial.receive(Buffer.alloc(receiveRingBytes + 1));
  const rings = port.rings;
  port.write(reg.fcr, 0x03);
  t.equal(port.rings, rings + 1);
});

test('rings for output only while the host sleeps', async (t) => {
  const port = serialRig();
  const rings = port.rings;
  port.write(reg.data, 0x41);
  port.write(reg.data, 0x42);
  t.equal(port.rings, rings + 1, 'one ring wakes it');
  t.equal(port.sent(), 'AB');
  port.write(reg.data, 0x43);
  t.equal(port.rings, rings + 1, 'it looks again by itself');
  t.equal(port.sent(), 'C');
  t.equal(port.sent(), '', 'nothing: it goes to sleep');
  port.write(reg.data, 0x44);
  t.equal(port.rings, rings + 2);
});

test('is busy while its ring is full, and asks for more when there is room again', async (t) => {
  const port = serialRig();
  port.enable(IER_TX);
  for (let count = 0; count < transmitRingBytes; count++) port.write(reg.data, count & 0xff);
  t.equal(port.read(reg.lsr) & LSR_IDLE, 0, 'a driver that polls waits');
  port.read(reg.iir);
  t.equal(port.level, false, 'a driver that is interrupted waits');
  t.equal(port.read(reg.iir), IIR_NONE);

  port.serial.takeSent(new Uint8Array(16));

  t.equal(port.read(reg.lsr) & LSR_IDLE, LSR_IDLE);
  t.equal(port.level, true);
  t.equal(port.read(reg.iir), IIR_TX);
});

test('gives output in pieces without losing any, around the end of its ring', async (t) => {
  const port = serialRig();
  const chunk = new Uint8Array(7777);
  let [written, taken] = [0, 0];
  while (taken < 3 * transmitRingBytes) {
    for (let count = 0; count < 5000; count++) port.write(reg.data, written++ % 251);
    const count = port.serial.takeSent(chunk);
    for (let index = 0; index < count; index++) {
      if (chunk[index] !== taken++ % 251) t.fail(`byte ${taken}`);
    }
  }
  t.ok(taken >= 3 * transmitRingBytes);
});

test('counts its rings on past 2^32 bytes', async (t) => {
  const port = serialRig();
  const { cells } = port.state;
  // head and tail of both rings, just before they wrap
  for (const ring of [cell.receiveHead, cell.receiveTail, cell.transmitHead, cell.transmitTail]) cells[ring] = -2;
  for (const letter of letters('wrap')) port.write(reg.data, letter);
  t.equal(port.sent(), 'wrap');
  port.serial.receive(Buffer.from('around'));
  t.equal(Buffer.from(letters('around').map(() => port.read(reg.data))).toString(), 'around');
});

test('loses and doubles no byte of threads that write at once, and keeps the order of each', {
  timeout: 120_000,
}, async (t) => {
  const port = serialRig();
  const [threads, times] = [4, 16_000]; // together less than the ring holds: a real driver would take a lock to wait
  const gate = new SharedArrayBuffer(4);
  const writers = Array.from({ length: threads }, (_, index) => {
    const module = new URL('./serial-thread.ts', import.meta.url);
    return inThread(module, 'writeMany', port.state.storage, gate, index, threads, times);
  });
  let running = true;
  const done = Promise.all(writers).then(() => {
    running = false;
  });
  const chunk = new Uint8Array(4096);
  const next = new Array<number>(threads).fill(0);
  let total = 0;
  for (let last = false; !last; ) {
    last = !running;
    for (let count = port.serial.takeSent(chunk); count > 0; count = port.serial.takeSent(chunk)) {
      for (const byte of chunk.subarray(0, count)) {
        const [writer, value] = [byte >> 6, byte & 63];
        if (value !== (next[writer] as number)++ % 64) t.fail(`thread ${writer}: a byte out of order`);
        total++;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await done;
  t.equal(total, threads * times);
});

import { decode, encode } from 'cbor-x';
import { type Test, test } from 'tap';
import type { SerialPortState } from '../../../src/devices/serial-port-state.ts';
import { checkSerialPortState } from '../../../src/devices/serial-port-state-schema.ts';
import { cell, receiveRingBytes, transmitRingBytes } from '../../../src/devices/serial-state.ts';
import { VmStateError } from '../../../src/devices/vm-state-error.ts';
import { brokenStates } from '../../support/broken-states.ts';
import { reg, type SerialRig, serialRig } from './serial-rig.ts';

const IER_RX = 1;
const IER_TX = 2;
const IIR_TX = 2;
const LSR_IDLE = 0x60;

/** A port with something in every register and both rings. */
function busyPort(): SerialRig {
  const port = serialRig();
  port.write(reg.lcr, 0x80);
  port.write(reg.data, 0x0c);
  port.write(reg.ier, 0x01);
  port.write(reg.lcr, 0x1b);
  port.write(reg.fcr, 1);
  port.write(reg.scr, 0x5a);
  port.enable(IER_RX | IER_TX);
  port.serial.receive(Buffer.from('typed'));
  for (const letter of Buffer.from('printed')) port.write(reg.data, letter);
  return port;
}

/** The state after a trip through CBOR and the check. */
function saved(t: Test, port: SerialRig): SerialPortState {
  const state = port.serial.save();
  const checked = checkSerialPortState(decode(encode(state)));
  t.strictSame(checked, state, 'CBOR and the check leave it as it is');
  return checked;
}

test('saves what is in it by name', async (t) => {
  t.strictSame(saved(t, busyPort()), {
    version: 1,
    interruptEnable: 3,
    lineControl: 0x1b,
    modemControl: 0x0b,
    scratch: 0x5a,
    divisorLow: 0x0c,
    divisorHigh: 1,
    fifoEnabled: true,
    transmitterEmpty: true,
    overrun: false,
    interruptLevel: true,
    received: Uint8Array.from(Buffer.from('typed')),
    sent: Uint8Array.from(Buffer.from('printed')),
  });
});

test('goes on as a new port, with nothing lost and nothing doubled', async (t) => {
  const next = serialRig();
  next.serial.load(saved(t, busyPort()));
  t.equal(next.sent(), 'printed');
  t.equal(Buffer.from(Array.from('typed', () => next.read(reg.data))).toString(), 'typed');
  t.equal(next.read(reg.data), 0, 'nothing more');
  t.equal(next.read(reg.scr), 0x5a);
  t.equal(next.read(reg.iir), 0xc0 | IIR_TX);
  t.equal(next.level, false);
  next.write(reg.lcr, 0x80);
  t.strictSame([next.read(reg.data), next.read(reg.ier)], [0x0c, 0x01]);
});

test('saves the same twice, and once it is loaded', async (t) => {
  const port = busyPort();
  const state = saved(t, port);
  t.strictSame(saved(t, port), state);
  port.serial.load(state);
  t.strictSame(saved(t, port), state);
  const next = serialRig();
  next.serial.load(state);
  t.strictSame(saved(t, next), state);
});

test('goes back to what it saved, whatever happened since', async (t) => {
  const port = busyPort();
  const state = saved(t, port);
  port.write(reg.fcr, 3);
  port.write(reg.ier, 0);
  port.serial.receive(Buffer.alloc(receiveRingBytes));
  port.sent();
  port.serial.load(state);
  t.equal(port.level, true);
  t.equal(port.sent(), 'printed');
});

test('saves rings that lie around their end', async (t) => {
  const port = serialRig();
  for (const ring of [cell.receiveHead, cell.receiveTail, cell.transmitHead, cell.transmitTail]) {
    port.state.cells[ring] = -3;
  }
  port.serial.receive(Buffer.from('around'));
  for (const letter of Buffer.from('the end')) port.write(reg.data, letter);
  const { received, sent } = saved(t, port);
  t.equal(Buffer.from(received).toString(), 'around');
  t.equal(Buffer.from(sent).toString(), 'the end');
});

test('is loaded with rings that are full', async (t) => {
  const port = serialRig();
  port.enable(IER_TX);
  port.serial.receive(Buffer.alloc(receiveRingBytes, 'r'));
  for (let count = 0; count < transmitRingBytes; count++) port.write(reg.data, count & 0xff);
  const next = serialRig();
  next.serial.load(saved(t, port));
  t.equal(next.read(reg.lsr) & LSR_IDLE, 0, 'the guest waits');
  t.equal(next.sent().length, transmitRingBytes);
  t.equal(next.level, true, 'and is told of room');
});

test('sets the pin to its level, which whatever is behind it may not have', async (t) => {
  const [high, low] = [busyPort(), serialRig()];
  for (const [state, level] of [
    [high.serial.save(), true],
    [low.serial.save(), false],
  ] as const) {
    for (const port of [high, low]) {
      const before = port.levels.length;
      port.serial.load(state);
      t.strictSame(port.levels.slice(before), [level]);
    }
  }
});

test('does not keep a level that contradicts the registers', async (t) => {
  const state = busyPort().serial.save();
  const port = serialRig();
  port.serial.load({ ...state, interruptLevel: false });
  t.equal(port.level, true);
  port.serial.load({ ...state, interruptEnable: 0 });
  t.equal(port.level, false);
});

test('rings for output that was not printed when it was saved, whether the host sleeps or not', async (t) => {
  const state = busyPort().serial.save();
  const port = serialRig();
  port.serial.load(state);
  t.equal(port.rings, 1);
  port.serial.load(state);
  t.equal(port.rings, 2);
  port.serial.load({ ...state, sent: new Uint8Array(0) });
  t.equal(port.rings, 2, 'there is nothing to print');
});

test('rings for room for input that the host holds back', async (t) => {
  const empty = serialRig().serial.save();
  const port = serialRig();
  port.serial.receive(Buffer.alloc(receiveRingBytes + 1));
  port.serial.load(empty);
  t.equal(port.rings, 1);
});

test('a state with one field broken is refused by the name of the field, or does no harm', async (t) => {
  let refusals = 0;
  for (const { change, field, hopeless, value } of brokenStates(busyPort().serial.save())) {
    let state: SerialPortState;
    try {
      state = checkSerialPortState(value);
    } catch (error) {
      if (!(error instanceof VmStateError)) throw error;
      refusals++;
      if (hopeless && !error.message.includes(field)) t.fail(`${change}: ${error.message}`);
      continue;
    }
    if (hopeless) t.fail(`${change}: not refused`);
    const port = serialRig();
    port.serial.load(state);
    for (let offset = 0; offset < 8; offset++) port.write(offset, port.read(offset));
    port.serial.save();
  }
  t.ok(refusals > 50, `${refusals} were refused`);
});

test('a state of a newer version is refused by that reason', async (t) => {
  const state = { ...busyPort().serial.save(), version: 2, more: true };
  t.throws(() => checkSerialPortState(state), {
    code: 'VM_STATE',
    message: 'serial was written by a newer version of colo-vmm: it is of version 2, and this one knows up to 1',
  });
  for (const value of [undefined, null, 7, 'text', [], new Uint8Array(3)]) {
    t.throws(() => checkSerialPortState(value), { code: 'VM_STATE' });
  }
});

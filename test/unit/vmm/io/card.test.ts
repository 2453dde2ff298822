import { spawnSync } from 'node:child_process';
import { type Test, test } from 'tap';
import { netShape } from '../../../../src/devices/net/net-shape.ts';
import { MmioRegisters } from '../../../../src/devices/virtio/mmio-registers.ts';
import { cell, mmioState } from '../../../../src/devices/virtio/mmio-state.ts';
import { EventLoop } from '../../../../src/host/events/event-loop.ts';
import { EventFd } from '../../../../src/host/events/eventfd.ts';
import { Tap } from '../../../../src/host/net/tap.ts';
import { Owner } from '../../../../src/host/ownership.ts';
import { Handshake } from '../../../../src/host/threads/handshake.ts';
import { gpa, MiB } from '../../../../src/memory/address.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { IoDevices } from '../../../../src/vmm/io/io-devices.ts';
import type { IoReport } from '../../../../src/vmm/io/io-report.ts';
import { packReplayed } from '../../../../src/vmm/platform/replayed-packets.ts';
import { MockDriver } from '../../../support/mock-driver.ts';
import { freeName, noTaps } from '../../../support/taps.ts';
import { packet } from '../../devices/net/net-rig.ts';

const skip = noTaps();
const statusOffset = 6;
const linkUp = 1;
const announce = 2;

/** The io thread's card with a real TAP, on this thread. */
function cardRig(t: Test) {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const ram = owner.own(new Ram(8 * MiB));
  const loop = owner.own(new EventLoop());
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 9);
  const name = freeName();
  const tap = owner.own(new Tap({ name, address: mac }));
  const shape = netShape({ mac, offload: false });
  const state = mmioState(shape).storage;
  const kicks = shape.queueSizes.map(() => owner.own(new EventFd()).fd);
  const order = {
    name: `net ${name}`,
    virtio: { base: gpa(0), shape, state, kicks },
    // An ioctl that every descriptor takes.
    interrupt: { vm: owner.own(new EventFd()).fd, gsi: 6, request: { name: 'FIOCLEX', number: 0x5451 } },
    device: { kind: 'net', tap: tap.fd, name },
  } as const;
  const reports: IoReport[] = [];
  const devices = owner.own(
    new IoDevices([order], {
      memory: ram.memory,
      loop,
      report: (report) => reports.push(report),
      makeTranslation: (state) => ({
        size: 1,
        outgoing: () => {},
        incoming: () => {},
        scan: () => {},
        save: () => state,
      }),
    }),
  );
  const views = mmioState(shape, state);
  const handshake = new Handshake(views.cells, cell.asked, cell.answered);
  const registers = new MmioRegisters(views, shape, {
    synchronize: () => {
      handshake.ask();
      devices.settle();
    },
    notify: () => {},
  });
  const driver = new MockDriver(registers, ram.memory);
  driver.start();
  const status = (): number => driver.readConfig(statusOffset, 2);
  return { name, devices, reports, loop, status, driver };
}

test('a TAP that is deleted takes the carrier with it, and is told of once', { skip }, async (t) => {
  const { name, devices, reports, loop, status } = cardRig(t);
  loop.turn(0);
  t.equal(status(), linkUp);
  t.strictSame(reports, []);
  t.equal(spawnSync('ip', ['link', 'delete', name]).status, 0);
  for (let turn = 0; turn < 5; turn++) loop.turn(20);
  t.equal(status(), 0);
  t.match(reports, [{ kind: 'tap-gone', tap: name, text: new RegExp(name) }]);
  t.equal(reports.length, 1);
  devices.announce();
  t.equal(status() & linkUp, 0, 'there is still none');
});

test('a card that comes from elsewhere announces itself, with the carrier of the TAP that is here', {
  skip,
}, async (t) => {
  const there = cardRig(t);
  spawnSync('ip', ['link', 'delete', there.name]);
  for (let turn = 0; turn < 5; turn++) there.loop.turn(20);
  there.devices.pause();

  const { devices, status } = cardRig(t);
  devices.pause();
  devices.prepareLoad(there.devices.save())();
  t.equal(status(), 0);
  devices.announce();
  t.equal(status(), linkUp | announce);
});

test("a guest gets what the other side's got before anything else, and one that begins anew gets nothing of it", {
  skip,
}, async (t) => {
  for (const beginsAnew of [false, true]) {
    const { devices, driver, loop } = cardRig(t);
    // Until its TAP is known to have nothing.
    loop.turn(0);
    devices.pause();
    devices.replay(
      packReplayed([
        { card: 0, packet: packet(100, 1) },
        { card: 1, packet: packet(100, 9) },
        { card: 0, packet: packet(200, 2) },
      ]),
    );
    devices.translate('its connections');
    if (beginsAnew) {
      devices.powerCycle();
      driver.start();
    }
    t.equal(
      devices.translation,
      beginsAnew ? undefined : 'its connections',
      'which were those of the guest that is gone',
    );
    const queue = driver.queues[0];
    for (let count = 0; count < 4; count++) queue?.add([{ write: 2000 }]);
    devices.resume();
    for (let turn = 0; turn < 5; turn++) devices.takeTurns();
    const entered = queue?.collect().map(({ length }) => length);
    // The kernel may have something to say on a new TAP.
    const lengths = entered?.filter((length) => length === 100 || length === 200);
    t.strictSame(lengths, beginsAnew ? [] : [100, 200]);
  }
});

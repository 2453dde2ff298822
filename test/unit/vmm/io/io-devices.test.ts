import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { decode, encode } from 'cbor-x';
import { type Test, test } from 'tap';
import { openDiskFile } from '../../../../src/block/disk-file.ts';
import { DiskRingControl, diskRingStorage } from '../../../../src/block/replicated/disk-ring.ts';
import { blockRequestType, blockStatus } from '../../../../src/devices/block/block-request.ts';
import { blockShape } from '../../../../src/devices/block/block-shape.ts';
import { netShape } from '../../../../src/devices/net/net-shape.ts';
import type { NetState } from '../../../../src/devices/net/net-state.ts';
import { rngShape } from '../../../../src/devices/rng/rng-device.ts';
import { MmioRegisters } from '../../../../src/devices/virtio/mmio-registers.ts';
import { cell, mmioState } from '../../../../src/devices/virtio/mmio-state.ts';
import type { VirtioShape } from '../../../../src/devices/virtio/virtio-device.ts';
import { EventLoop } from '../../../../src/host/events/event-loop.ts';
import { EventFd } from '../../../../src/host/events/eventfd.ts';
import { close, createPipe, type Fd, tryWrite } from '../../../../src/host/libc/descriptors.ts';
import { Owner } from '../../../../src/host/ownership.ts';
import { Handshake } from '../../../../src/host/threads/handshake.ts';
import { gpa, MiB } from '../../../../src/memory/address.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import type { DeviceOrder } from '../../../../src/vmm/io/device-orders.ts';
import { type IoDeviceState, lastingNames } from '../../../../src/vmm/io/io-device-state.ts';
import { checkIoDeviceStates } from '../../../../src/vmm/io/io-device-state-schema.ts';
import { IoDevices } from '../../../../src/vmm/io/io-devices.ts';
import type { IoReport } from '../../../../src/vmm/io/io-report.ts';
import { newSharedPackets, newSharedReplica } from '../../../../src/vmm/platform/packet-rings.ts';
import { EpochSeed, OpenEpoch } from '../../../../src/vmm/platform/shared-protection.ts';
import { copyMemory } from '../../../support/go-on-elsewhere.ts';
import { MockDriver } from '../../../support/mock-driver.ts';
import type { MockQueue } from '../../../support/mock-queue.ts';
import { mac, packet } from '../../devices/net/net-rig.ts';

interface Rig {
  readonly devices: IoDevices;
  readonly ram: Ram;
  /** Of the disk, of the source of entropy, and of the card, if there is one. */
  readonly drivers: readonly MockDriver[];
  readonly registers: readonly MmioRegisters[];
  /** As the io thread does while it runs. */
  turn(): void;
  readonly reports: readonly IoReport[];
}

/** An ioctl that every descriptor takes. */
const doesNothing = { name: 'FIOCLEX', number: 0x5451 };

interface RigOptions {
  readonly id?: string;
  readonly seed?: number;
  readonly cannotBeWritten?: boolean;
  /** There is a card, too, with this for a TAP. */
  readonly tap?: Fd;
}

/** The devices of an io thread, on this thread: a disk and a source of entropy. */
function ioRig(t: Test, { id = 'root', seed = 7, cannotBeWritten = false, tap }: RigOptions = {}): Rig {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const ram = owner.own(new Ram(8 * MiB));
  const loop = owner.own(new EventLoop());
  const opened = openDiskFile(join(t.testdir({ disk: 'x'.repeat(4096) }), 'disk'), { readOnly: true, direct: false });
  const file = { ...opened, readOnly: !cannotBeWritten };
  owner.defer(() => closeSync(file.fd));
  const order = (shape: VirtioShape, device: DeviceOrder['device']): DeviceOrder => ({
    name: `the ${device.kind}`,
    virtio: {
      base: gpa(0),
      shape,
      state: mmioState(shape).storage,
      kicks: shape.queueSizes.map(() => owner.own(new EventFd()).fd),
    },
    interrupt: { vm: owner.own(new EventFd()).fd, gsi: 6, request: doesNothing },
    device,
  });
  const orders = [
    order(blockShape(file), { kind: 'disk', id, file, sector: undefined, writeErrors: 'report' }),
    order(rngShape, { kind: 'rng', seed }),
    ...(tap === undefined ? [] : [order(netShape({ mac, offload: true }), { kind: 'net', tap, name: 'tap0' })]),
  ];
  const reports: IoReport[] = [];
  const devices = owner.own(
    new IoDevices(orders, { memory: ram.memory, loop, report: (report) => reports.push(report) }),
  );
  const registers = orders.map(({ virtio: { shape, state, kicks } }) => {
    const views = mmioState(shape, state);
    const handshake = new Handshake(views.cells, cell.asked, cell.answered);
    return new MmioRegisters(views, shape, {
      synchronize: () => {
        handshake.ask();
        devices.settle();
      },
      notify: (queue) => new EventFd(kicks[queue] as Fd).signal(),
    });
  });
  const drivers = registers.map((file) => new MockDriver(file, ram.memory));
  const turn = (): void => {
    loop.turn(10);
    devices.takeTurns();
  };
  return { devices, ram, drivers, registers, turn, reports };
}

/** Asks for random bytes; they come by {@link Rig.turn}. */
function askForBytes({ drivers }: Rig): void {
  drivers[1]?.queues[0]?.add([{ write: 16 }]);
  drivers[1]?.kick(0);
}

function bytesOf(rig: Rig): string {
  const [answer] = rig.drivers[1]?.queues[0]?.collect() ?? [];
  return Buffer.from(answer?.bytes ?? []).toString('hex');
}

function refusalOf(call: () => unknown): string {
  try {
    call();
    return 'not refused';
  } catch (error) {
    return (error as { code?: string }).code === 'VM_STATE' ? (error as Error).message : `not by a refusal: ${error}`;
  }
}

test('goes on as other devices, with kicks that nobody had heard', async (t) => {
  const rig = ioRig(t);
  for (const driver of rig.drivers) driver.start();
  rig.devices.pause();
  askForBytes(rig); // lies in an eventfd, which is gone with its process
  t.ok(rig.devices.idle);
  const states = checkIoDeviceStates(decode(encode(rig.devices.save())));
  t.strictSame(states, rig.devices.save());
  t.strictSame(structuredClone(states), states);
  t.strictSame(
    states.map(({ name }) => name),
    ['disk root', 'rng'],
  );

  const next = ioRig(t, { seed: 99 });
  next.devices.pause();
  next.devices.prepareLoad(states)();
  copyMemory(rig.ram.memory, next.ram.memory);
  t.strictSame(next.devices.save(), states);
  for (const [index, driver] of rig.drivers.entries()) {
    const { queues } = driver.over(next.registers[index] as MmioRegisters, next.ram.memory);
    next.drivers[index]?.queues.push(...queues);
  }
  next.devices.resume();
  rig.devices.resume();
  const there = bytesOf(next);
  t.equal(there.length, 32, 'at once, with no kick');
  t.equal(there, bytesOf(rig), 'and of the same seed');
  askForBytes(next);
  next.turn();
  t.equal(bytesOf(next).length, 32);
});

test('refuses states of other devices, by name, and states of which one is broken; and changes none', async (t) => {
  const rig = ioRig(t);
  for (const driver of rig.drivers) driver.start();
  rig.devices.pause();
  const states = rig.devices.save();
  const [disk, rng] = states;
  if (disk === undefined || rng === undefined) throw new Error('a device is missing');
  const there = 'the machine here has disk root, rng';
  t.equal(
    refusalOf(() => rig.devices.prepareLoad([disk])),
    `devices are disk root; ${there}`,
  );
  t.equal(
    refusalOf(() => rig.devices.prepareLoad([])),
    `devices are none; ${there}`,
  );
  t.equal(
    refusalOf(() => rig.devices.prepareLoad([rng, disk])),
    `devices are rng, disk root; ${there}`,
  );
  const other = ioRig(t, { id: 'data' });
  other.devices.pause();
  t.equal(
    refusalOf(() => other.devices.prepareLoad(states)),
    'devices are disk root, rng; the machine here has disk data, rng',
  );
  const broken = { ...rng, transport: { ...rng.transport, positions: [{ nextAvail: 3, nextUsed: 2, signalled: 2 }] } };
  const fresh = ioRig(t);
  fresh.devices.pause();
  const before = fresh.devices.save();
  t.match(
    refusalOf(() => fresh.devices.prepareLoad([disk, broken])),
    /^rng: positions\[0\] cannot be avail 3, used 2/,
  );
  t.strictSame(fresh.devices.save(), before);
});

test('checks states that come from outside, and names device and field', async (t) => {
  const rig = ioRig(t);
  rig.devices.pause();
  const [disk, rng] = rig.devices.save();
  if (disk === undefined) throw new Error('a device is missing');
  for (const [value, message] of [
    [undefined, 'devices is no list'],
    [[disk, {}], 'devices[1].name is missing'],
    [[{ ...disk, transport: 7 }], 'disk root: state is no record of named fields'],
    [[{ ...disk, transport: { ...disk.transport, phase: 'asleep' } }, rng], 'disk root: state.phase is no phase'],
    [
      [{ ...disk, transport: { ...disk.transport, device: { kind: 'block', version: 1, kept: [70_000] } } }, rng],
      'disk root: device.kept[0] is no number from 0 to 65535',
    ],
    [
      [{ ...disk, transport: { ...disk.transport, device: { kind: 'gpu', version: 1 } } }, rng],
      'disk root: state.device.kind is "gpu", which is no device',
    ],
    [
      [{ ...disk, transport: { ...disk.transport, version: 3 } }, rng],
      'disk root: state was written by a newer version of colo-vmm: it is of version 3, and this one knows up to 1',
    ],
  ] as const) {
    t.equal(
      refusalOf(() => checkIoDeviceStates(value)),
      message,
    );
  }
});

test('calls devices in states what they are called wherever the machine goes on', async (t) => {
  const named = (device: unknown): DeviceOrder => ({ name: 'net tap7', device }) as DeviceOrder;
  const tap = { kind: 'net', tap: 0 };
  const names = lastingNames([named({ kind: 'disk', id: 'root' }), named(tap), named(tap), named({ kind: 'rng' })]);
  t.strictSame(names, ['disk root', 'network card 0', 'network card 1', 'rng']);
});

test('a write that fails where a standby is counted on is kept: it hears of it, and the guest once there is none', async (t) => {
  const rig = ioRig(t, { cannotBeWritten: true });
  const [driver] = rig.drivers;
  driver?.start();
  const queue = driver?.queues[0] as MockQueue;
  const disks = diskRingStorage(4 * MiB, MiB);
  const control = new DiskRingControl(disks.control);
  const bell = new EventFd();
  t.teardown(() => bell.close());
  const parked = (body: () => void): void => {
    rig.devices.pause();
    body();
    rig.devices.resume();
  };
  const shared = { epoch: new OpenEpoch().storage, seed: new EpochSeed().storage, bell: bell.fd };
  parked(() => rig.devices.protect({ ...shared, packets: newSharedPackets(), disks }));
  control.countOnStandby();
  const header = Buffer.alloc(16);
  header.writeUInt32LE(blockRequestType.out);
  queue.add([{ read: header }, { read: Buffer.alloc(512) }, { write: 1 }]);
  driver?.kick(0);
  while (control.failure === undefined) rig.turn();
  t.match(control.failure, { disk: 0, errno: Number });
  rig.turn();
  t.strictSame(queue.collect(), []);
  parked(() => {});
  for (let count = 0; count < 3; count++) rig.turn();
  t.strictSame(queue.collect(), []);
  t.strictSame(rig.reports, []);

  parked(() => rig.devices.unprotect());
  let answers = queue.collect();
  for (; answers.length === 0; answers = queue.collect()) rig.turn();
  t.equal(answers[0]?.bytes[0], blockStatus.ioError);
  t.ok(rig.reports.some(({ kind }) => kind === 'disk-failure'));
});

test("what waited at a checkpoint in another machine's card waits in a replica's no more: that machine mirrors it", async (t) => {
  const [tap, world] = createPipe();
  const bell = new EventFd();
  t.teardown(() => {
    bell.close();
    close(tap);
    close(world);
  });
  const rig = ioRig(t, { tap });
  const [, , driver] = rig.drivers;
  driver?.start();
  driver?.queues[0]?.add([{ write: 100 }]);
  tryWrite(world, packet(500));
  rig.turn();
  rig.devices.pause();
  const states = rig.devices.save();
  const waitingIn = ([, , card]: typeof states): number =>
    ((card as IoDeviceState).transport.device as NetState).waiting.length;
  t.equal(waitingIn(states), 500);

  const restored = ioRig(t, { tap });
  restored.devices.pause();
  restored.devices.prepareLoad(states)();
  t.equal(waitingIn(restored.devices.save()), 500, 'a machine that is restored has it');
  const replica = ioRig(t, { tap });
  replica.devices.pause();
  replica.devices.replicate(newSharedReplica(1, bell.fd));
  replica.devices.prepareLoad(states)();
  t.equal(waitingIn(replica.devices.save()), 0);
});

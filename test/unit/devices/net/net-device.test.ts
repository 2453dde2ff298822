import { test } from 'tap';
import { NetDevice } from '../../../../src/devices/net/net-device.ts';
import { netFeature, netShape } from '../../../../src/devices/net/net-shape.ts';
import { checkNetState } from '../../../../src/devices/net/net-state-schema.ts';
import { feature } from '../../../../src/devices/virtio/mmio-state.ts';
import { EINVAL } from '../../../../src/host/errno.ts';
import { MiB } from '../../../../src/memory/address.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import type { ContractDevice } from '../../../support/contract-device.ts';
import { virtioContract } from '../../../support/virtio-contract.ts';
import { FakePort, mac, type NetRig, netRig, packet } from './net-rig.ts';

function contractParts(
  request: (port: FakePort) => ContractDevice['request'],
  port: FakePort = new FakePort(),
): ContractDevice {
  const ram = new Ram(8 * MiB);
  const shape = netShape({ mac, offload: true });
  let device: NetDevice | undefined;
  return {
    shape,
    memory: ram.memory,
    device: (host, config, memory) => {
      device = new NetDevice({ shape, config, memory, port, host });
      return device;
    },
    poll: () => device?.portReady(),
    request: request(port),
    checkState: checkNetState,
    another: () => contractParts(request, port),
    close: () => ram.close(),
  };
}

virtioContract('a network card that sends', () =>
  contractParts((port) => (driver) => {
    const head = driver.queues[1]?.add([{ read: packet(100) }]) ?? -1;
    const before = port.sent.length;
    const check = (): void => {
      if (port.sent.length === before) throw new Error('nothing was sent');
    };
    return { queue: 1, head, check };
  }),
);

virtioContract('a network card that receives', () =>
  contractParts((port) => (driver) => {
    const head = driver.queues[0]?.add([{ write: 1530 }]) ?? -1;
    port.incoming.push(packet(100));
    return {
      queue: 0,
      head,
      check: ({ length }) => {
        if (length !== 100) throw new Error(`${length} bytes`);
      },
    };
  }),
);

virtioContract('a network card that is told something', () =>
  contractParts(() => (driver) => {
    const head = driver.queues[2]?.add([{ read: Uint8Array.of(99, 0) }, { write: 1 }]) ?? -1;
    return {
      queue: 2,
      head,
      check: ({ bytes }) => {
        if (bytes[0] !== 1) throw new Error('an unknown command was not refused');
      },
    };
  }),
);

function statusOf(rig: NetRig): number {
  return rig.driver.readConfig(6, 2);
}

test('tells the port which packets its driver takes, and takes that back when it is reset', async (t) => {
  const rig = netRig(t);
  t.equal(rig.port.offloads.at(-1), 15);
  rig.driver.reset();
  t.equal(rig.port.offloads.at(-1), 0);
  rig.driver.start(feature.version1 | netFeature.guestChecksum);
  t.equal(rig.port.offloads.at(-1), 1);
  rig.driver.start(feature.version1 | netFeature.guestTso4);
  t.equal(rig.port.offloads.at(-1), 0, 'segments without checksums are nothing');
  const without = netRig(t, { offload: false });
  t.strictSame(without.port.offloads, [0]);
});

test('works with a port that cannot offload', async (t) => {
  const rig = netRig(t, { start: false });
  rig.port.offloadResult = -EINVAL;
  rig.driver.start();
  rig.receive.add([{ write: 1530 }]);
  rig.arrive(packet(100));
  t.equal(rig.receive.collectOne().length, 100);
  t.ok(rig.counted('offloadErrors') > 0);
});

test('makes room for the MTU that it told its driver', async (t) => {
  const rig = netRig(t, { offload: false, mtu: 4000 });
  for (let index = 0; index < 10; index++) rig.receive.add([{ write: 1000 }]);
  rig.arrive();
  t.equal(rig.transport.queues[0]?.position.nextAvail, 5, '4000 + 14 + 4 + 12 bytes');
});

test('says that the link goes down and up', async (t) => {
  const rig = netRig(t);
  t.equal(statusOf(rig), 1);
  rig.device.setLink(false);
  t.equal(statusOf(rig), 0);
  t.equal(rig.driver.acknowledgeInterrupt() & 2, 2);
  rig.device.setLink(true);
  t.equal(statusOf(rig), 1);
  t.equal(rig.driver.acknowledgeInterrupt() & 2, 2);
  rig.device.setLink(false);
  rig.driver.reset();
  t.equal(statusOf(rig), 0, 'a cable is not plugged in by a reset');
});

test('has its driver announce itself until that has done so', async (t) => {
  const rig = netRig(t);
  t.equal(rig.device.announce(), true);
  t.equal(statusOf(rig), 3);
  t.equal(rig.driver.acknowledgeInterrupt() & 2, 2);
  rig.control.add([{ read: Uint8Array.of(3, 0) }, { write: 1 }]);
  rig.driver.kick(2);
  t.equal(rig.control.collectOne().bytes[0], 0);
  t.equal(statusOf(rig), 1);

  rig.device.announce();
  rig.driver.reset();
  t.equal(statusOf(rig), 1);
  t.equal(rig.device.announce(), false, 'no driver');
  rig.driver.start(feature.version1);
  t.equal(rig.device.announce(), false, 'a driver that cannot');
  t.equal(statusOf(rig), 1);
});

test('stands still as a whole when one ring is broken', async (t) => {
  const rig = netRig(t);
  rig.receive.add([{ write: 1530 }]);
  rig.transmit.offer(0xffff);
  rig.device.kicked(1);
  t.equal(rig.failures.length, 1);
  rig.arrive(packet(100));
  t.equal(rig.port.incoming.length, 1);
  t.strictSame(rig.receive.collect(), []);
  rig.driver.start();
  rig.receive.add([{ write: 1530 }]);
  rig.device.kicked(0);
  t.equal(rig.receive.collectOne().length, 100);
});

test('finds a broken receive ring when it wants buffers', async (t) => {
  const rig = netRig(t);
  rig.receive.add([{ write: 20 }]);
  rig.receive.offer(0xffff);
  rig.arrive(packet(100));
  t.equal(rig.failures.length, 1);
  t.equal(rig.device.hasMore, false);
  t.strictSame(rig.receive.collect(), []);
});

test('serves the other queues while one has more than a turn', async (t) => {
  const rig = netRig(t);
  for (let index = 0; index < 200; index++) rig.transmit.add([{ read: packet(26) }]);
  rig.device.kicked(1);
  rig.receive.add([{ write: 1530 }]);
  rig.port.incoming.push(packet(100));
  rig.device.portReady();
  t.equal(rig.receive.collectOne().length, 100);
  t.ok(rig.port.sent.length < 200);
  t.equal(rig.device.hasMore, true);
  rig.work();
  t.equal(rig.port.sent.length, 200);
});

test('tells only a driver that runs of its link, and only when that changes', async (t) => {
  const rig = netRig(t, { start: false });
  const generation = (): number => rig.driver.read('ConfigGeneration');
  const before = generation();
  rig.device.setLink(false);
  t.equal(generation(), before);
  rig.driver.start();
  t.equal(statusOf(rig), 0);
  rig.device.setLink(false);
  t.equal(generation(), before);
  rig.device.setLink(true);
  t.equal(generation(), before + 1);
  rig.device.setLink(true);
  t.equal(generation(), before + 1);
});

test('has its own address again after a reset', async (t) => {
  const rig = netRig(t);
  const address = (): number[] => Array.from(mac, (_, at) => rig.driver.readConfig(at, 1));
  rig.control.add([{ read: Uint8Array.of(1, 1, 2, 9, 9, 9, 9, 9) }, { write: 1 }]);
  rig.driver.kick(2);
  t.strictSame(address(), [2, 9, 9, 9, 9, 9]);
  rig.driver.reset();
  t.strictSame(address(), [...mac]);
});

test('has room ready for plain packets, or for segments where its driver takes them', async (t) => {
  for (const [accept, buffers] of [
    [feature.version1 | netFeature.mergeableBuffers, 2],
    [feature.version1 | netFeature.mergeableBuffers | netFeature.guestChecksum, 2],
    [feature.version1 | netFeature.mergeableBuffers | netFeature.guestChecksum | netFeature.guestTso4, 66],
    [feature.version1 | netFeature.mergeableBuffers | netFeature.guestChecksum | netFeature.guestTso6, 66],
  ] as const) {
    const rig = netRig(t, { accept });
    for (let index = 0; index < 100; index++) rig.receive.add([{ write: 1000 }]);
    rig.arrive();
    t.equal(rig.transport.queues[0]?.position.nextAvail, buffers);
  }
});

test('has nothing in flight, and nothing to do once it is paused or closed', async (t) => {
  const rig = netRig(t);
  for (let index = 0; index < 200; index++) rig.transmit.add([{ read: packet(26) }]);
  rig.device.kicked(1);
  t.match(rig.device, { hasMore: true, inFlight: 0, writesMemory: false });
  rig.transport.pause();
  t.equal(rig.device.hasMore, false);
  rig.device.turn();
  const sent = rig.port.sent.length;
  rig.transport.resume();
  rig.work();
  t.ok(sent < 200);
  t.equal(rig.port.sent.length, 200);
});

import { BlockDevice } from '../../src/devices/block/block-device.ts';
import { blockShape } from '../../src/devices/block/block-shape.ts';
import { NetDevice } from '../../src/devices/net/net-device.ts';
import { netShape } from '../../src/devices/net/net-shape.ts';
import { RngDevice, rngShape } from '../../src/devices/rng/rng-device.ts';
import { SeededRandom } from '../../src/devices/rng/seeded-random.ts';
import { checkSerialPortState } from '../../src/devices/serial-port-state-schema.ts';
import { checkTransportState } from '../../src/devices/virtio/transport-state-schema.ts';
import type { VirtioShape } from '../../src/devices/virtio/virtio-device.ts';
import { ENOSPC } from '../../src/host/errno.ts';
import { type Closable, Owner } from '../../src/host/ownership.ts';
import { MiB } from '../../src/memory/address.ts';
import { Ram } from '../../src/memory/ram.ts';
import { deviceStateChecks } from '../../src/vmm/io/io-device-state-schema.ts';
import { FakeBackend } from '../support/fake-backend.ts';
import { type RigOptions, type VirtioRig, virtioRig } from '../support/mock-driver.ts';
import { FakePort, packet } from '../unit/devices/net/net-rig.ts';
import { reg, serialRig } from '../unit/devices/serial-rig.ts';

/** Something whose state is kept in a golden file: always made the same way, or the files would not fit it. */
export interface GoldenDevice extends Closable {
  /** Brings it to a state with something in every part. */
  use(): void;
  save(): unknown;
  /** Checks a state as one from outside, and loads it. */
  load(value: unknown): void;
}

/** Version of the states that are written now, of each. */
export const goldenVersion = 1;

export const goldenDevices: Readonly<Record<string, () => GoldenDevice>> = { block, net, rng, serial };

function block(): GoldenDevice {
  const backend = new FakeBackend(64 * 1024);
  const events = { onError: () => {}, onStop: () => {} };
  let device: BlockDevice | undefined;
  return behindRegisters(
    blockShape(backend),
    (host, config, memory) => {
      device = new BlockDevice({ backend, memory, host, config, events, werror: 'stop' });
      return device;
    },
    new Owner(),
    ({ driver, transport }) => {
      driver.start();
      driver.writeConfig(32, 1, 0);
      backend.resultOf = () => -ENOSPC;
      const write = Buffer.alloc(16);
      write.writeUInt32LE(1);
      for (let count = 0; count < 2; count++)
        driver.queues[0]?.add([{ read: write }, { read: Buffer.alloc(512) }, { write: 1 }]);
      driver.kick(0);
      backend.settle();
      device?.batchFinished();
      transport.interruptConfig();
    },
  );
}

function net(): GoldenDevice {
  const port = new FakePort();
  const shape = netShape({ mac: Uint8Array.of(2, 0, 0, 0, 0, 1), mtu: 1500, offload: true });
  let device: NetDevice | undefined;
  return behindRegisters(
    shape,
    (host, config, memory) => {
      device = new NetDevice({ shape, config, memory, port, host });
      return device;
    },
    new Owner(),
    ({ driver }) => {
      driver.start();
      const command = (...bytes: number[]): void => {
        driver.queues[2]?.add([{ read: Uint8Array.from(bytes) }, { write: 1 }]);
        driver.kick(2);
      };
      command(1, 1, 2, 3, 4, 5, 6, 7);
      command(5, 0, 2, 0, 0, 0, 0, 0, 0, 0);
      driver.queues[0]?.add([{ write: 50 }]);
      port.incoming.push(packet(90));
      device?.portReady();
      device?.announce();
    },
  );
}

function rng(): GoldenDevice {
  const owner = new Owner();
  const source = owner.own(new SeededRandom(7));
  return behindRegisters(
    rngShape,
    (host, _config, memory) => new RngDevice({ memory, source, host }),
    owner,
    ({ driver }) => {
      driver.start();
      driver.queues[0]?.add([{ write: 40 }]);
      driver.kick(0);
    },
  );
}

function serial(): GoldenDevice {
  const port = serialRig();
  return {
    use: () => {
      port.write(reg.lcr, 0x80);
      port.write(reg.data, 0x0c);
      port.write(reg.lcr, 3);
      port.write(reg.fcr, 1);
      port.write(reg.scr, 0x5a);
      port.enable(3);
      port.serial.receive(Buffer.from('typed'));
      for (const letter of Buffer.from('printed')) port.write(reg.data, letter);
    },
    save: () => port.serial.save(),
    load: (value) => port.serial.load(checkSerialPortState(value)),
    close: () => {},
  };
}

/** @param owner owns what the device is made with */
function behindRegisters(
  shape: VirtioShape,
  device: RigOptions['device'],
  owner: Owner,
  use: (rig: VirtioRig) => void,
): GoldenDevice {
  const ram = owner.own(new Ram(8 * MiB));
  const rig = virtioRig({ shape, device, memory: ram.memory });
  const { transport } = rig;
  owner.own(transport);
  return {
    use: () => {
      use(rig);
      transport.pause();
    },
    save: () => {
      transport.pause();
      return transport.save();
    },
    load: (value) => {
      transport.pause();
      transport.prepareLoad(checkTransportState(value, deviceStateChecks))();
    },
    close: () => owner.close(),
  };
}

import type { DiskEngines } from '../../block/disk-engines.ts';
import { Overlay } from '../../block/overlay.ts';
import { RawFile } from '../../block/raw-file.ts';
import { BlockDevice } from '../../devices/block/block-device.ts';
import { NetDevice } from '../../devices/net/net-device.ts';
import type { RandomSource } from '../../devices/rng/random-source.ts';
import { RngDevice } from '../../devices/rng/rng-device.ts';
import { SeededRandom } from '../../devices/rng/seeded-random.ts';
import type { MmioState } from '../../devices/virtio/mmio-state.ts';
import type { TakesTurns } from '../../devices/virtio/takes-turns.ts';
import type { DeviceHost, VirtioDevice } from '../../devices/virtio/virtio-device.ts';
import type { EventLoop } from '../../host/events/event-loop.ts';
import { TapPort } from '../../host/net/tap.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DeviceNews } from './device-news.ts';
import type { DeviceOrder, DiskOrder, NetOrder, RngOrder } from './device-orders.ts';
import type { DiskSettling } from './disk-settling.ts';
import type { IoReport } from './io-report.ts';
import { CardPort } from './protection/card-port.ts';
import type { IoProtection } from './protection/io-protection.ts';
import type { MakeTranslation } from './protection/translation.ts';
import { TapReadiness } from './tap-readiness.ts';

/** What the devices of the io thread work with. */
export interface IoSurroundings {
  readonly memory: GuestMemory;
  readonly loop: EventLoop;
  readonly report: (report: IoReport) => void;
  /** Engines of the thread's disks, made when the first one asks. */
  readonly engines: () => DiskEngines;
  /** Knows every disk. */
  readonly settling: DiskSettling;
  /** Knows every card, stands in front of every disk, and has the host's entropy. */
  readonly protection: IoProtection;
  /** How packets of a guest that has taken over are translated; absent: they cannot be. */
  readonly makeTranslation?: MakeTranslation | undefined;
}

/** The place that a device is made for. */
export interface DevicePlace {
  readonly order: DeviceOrder;
  readonly state: MmioState;
  readonly host: DeviceHost;
  /** Closes what is made beside the device. */
  readonly owner: Owner;
  readonly news: DeviceNews;
}

/** A device, and what the io thread has of it beside its transport. */
export interface MadeDevice {
  readonly device: VirtioDevice;
  readonly takesTurns?: TakesTurns;
  /** Has the network learn that it is here. */
  readonly announce?: () => void;
  /** Its guest begins anew. */
  readonly restart?: () => void;
  /** Requests in flight that are no reads, of a disk. */
  readonly changesInFlight?: () => number;
}

/** Makes what was ordered. @throws SystemError */
export function makeDevice(place: DevicePlace, surroundings: IoSurroundings): MadeDevice {
  const { device } = place.order;
  switch (device.kind) {
    case 'net':
      return makeCard(device, place, surroundings);
    case 'rng':
      return makeRng(device, place, surroundings);
    case 'disk':
      return makeDisk(device, place, surroundings);
    default:
      return device satisfies never;
  }
}

function makeCard({ tap, name }: NetOrder, place: DevicePlace, surroundings: IoSurroundings): MadeDevice {
  const { order, state, host, owner, news } = place;
  const { memory, loop, protection } = surroundings;
  const tapPort = new TapPort(tap);
  const port = new CardPort(tapPort, protection.cards, protection.translation);
  const device = new NetDevice({ shape: order.virtio.shape, config: state.config, memory, port, host });
  protection.addCard({ device, port });
  const readiness = new TapReadiness(device, () => news.tapIsGone(name));
  owner.own(tapPort.watch(loop, readiness));
  return {
    device,
    takesTurns: device,
    announce: () => readiness.announce(),
    restart: () => {
      port.forgetReplay();
      // Whose connections they were is gone, and answers for them as any guest does that knows of none.
      protection.translation.begin(undefined);
    },
  };
}

function makeRng({ seed }: RngOrder, { host, owner }: DevicePlace, { memory, protection }: IoSurroundings): MadeDevice {
  const source: RandomSource = seed === undefined ? protection.entropy : owner.own(new SeededRandom(seed));
  const device = new RngDevice({ memory, source, host });
  // The same bytes at every start of the guest.
  const atFirst = source.save?.();
  const restart = (): void => {
    if (atFirst !== undefined) source.load?.(atFirst);
  };
  return { device, takesTurns: device, restart };
}

function makeDisk(
  disk: DiskOrder,
  { order, state, host, news }: DevicePlace,
  surroundings: IoSurroundings,
): MadeDevice {
  const engines = surroundings.engines();
  const file = new RawFile(disk.file, engines);
  const own = disk.overlay === undefined ? file : new Overlay(disk.overlay, file, engines, ownerOf(file));
  const { alignment } = disk.overlay?.file ?? disk.file;
  const device = new BlockDevice({
    backend: surroundings.protection.disks.add(own, alignment),
    memory: surroundings.memory,
    host,
    config: state.config,
    id: disk.id,
    werror: disk.writeErrors,
    sector: disk.sector,
    events: {
      onError: (operation, errno) => news.diskFailed(disk.id, operation, errno),
      onStop: (errno) => news.diskStops(disk.id, errno),
      isGivenAway: () => surroundings.protection.disks.isGivenAway,
    },
  });
  engines.listen(device);
  surroundings.settling.add(order.name, own);
  return { device, takesTurns: device, changesInFlight: () => device.changesInFlight };
}

function ownerOf(closable: Closable): Owner {
  const owner = new Owner();
  owner.own(closable);
  return owner;
}

import { closeSync } from 'node:fs';
import { openDiskFile } from '../../block/disk-file.ts';
import { overlayGeometry } from '../../block/overlay.ts';
import { openOverlay } from '../../block/overlay-file.ts';
import { removePairStamp } from '../../block/pair-stamp.ts';
import { markWarning } from '../../block/standby-mark.ts';
import { blockShape, sectorBytes } from '../../devices/block/block-shape.ts';
import { macBytes, netConfig, netShape } from '../../devices/net/net-shape.ts';
import { rarpRequest } from '../../devices/net/rarp.ts';
import { rngShape } from '../../devices/rng/rng-device.ts';
import { mmioState } from '../../devices/virtio/mmio-state.ts';
import type { VirtioShape } from '../../devices/virtio/virtio-device.ts';
import type { Vm } from '../../host/kvm/vm.ts';
import { tryWrite } from '../../host/libc/descriptors.ts';
import { Tap } from '../../host/net/tap.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { Gpa } from '../../memory/address.ts';
import { virtioMmioBytes } from '../../memory/layout.ts';
import { ConfigError } from '../config/config.ts';
import { type DiskConfig, type NetConfig, nameOfDisk, type RngConfig } from '../config/device-config.ts';
import type { DeviceOrder } from '../io/device-orders.ts';
import { mostVirtioDevices, type SharedVirtio, VirtioSlot } from '../platform/virtio-slots.ts';
import type { CardFacts, DiskFacts } from './monitored-machine.ts';

/** The virtio devices of a machine, as configured. */
export interface DevicesConfig {
  readonly disks: readonly DiskConfig[];
  readonly nets: readonly NetConfig[];
  readonly rng: RngConfig;
  /** Disks are opened for a standby: what their pair knows of them stays true. */
  readonly keepsPairStamps?: boolean;
}

export const noDevices: DevicesConfig = { disks: [], nets: [], rng: { kind: 'none' } };

/**
 * Opens what stands behind the machine's virtio devices (files, TAPs) and gives each device its place. All of it is
 * closed by {@link close}, after the threads that use it are gone.
 */
export class MachineDevices implements Closable {
  readonly orders: readonly DeviceOrder[];
  readonly disks: DiskFacts[] = [];
  /** What its user may have meant otherwise, before the guest starts. */
  readonly warnings: string[] = [];
  readonly #cards: Card[] = [];
  readonly #owner = new Owner();
  readonly #slots: VirtioSlot[] = [];

  /** @throws DiskError, TapError, ConfigError */
  constructor(vm: Vm, { disks, nets, rng, keepsPairStamps = false }: DevicesConfig) {
    if (disks.length + nets.length + 1 > mostVirtioDevices) {
      throw new ConfigError(
        `a machine has room for ${mostVirtioDevices - 1} disks and network cards, not ${disks.length + nets.length}`,
      );
    }
    const place = (name: string, shape: VirtioShape, device: DeviceOrder['device']): DeviceOrder => {
      const slot = this.#owner.own(new VirtioSlot(vm, this.#slots.length, shape));
      this.#slots.push(slot);
      return { name, virtio: slot.shared, interrupt: slot.interrupt, device };
    };
    try {
      this.orders = [
        ...disks.map((config, index) => this.#disk(config, index, place, keepsPairStamps)),
        ...nets.map((config) => this.#net(config, place)),
        ...(rng.kind === 'none'
          ? []
          : [place('rng', rngShape, rng.kind === 'seed' ? { kind: 'rng', seed: rng.seed } : { kind: 'rng' })]),
      ];
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** For vCPU threads. */
  get virtio(): SharedVirtio[] {
    return this.#slots.map((slot) => slot.shared);
  }

  /** For the ACPI tables. */
  get acpi(): { base: Gpa; size: number; gsi: number }[] {
    return this.#slots.map(({ shared, gsi }) => ({ base: shared.base, size: virtioMmioBytes, gsi }));
  }

  get cards(): CardFacts[] {
    return this.#cards.map(({ tap, mac, gone }) => ({ tap: tap.name, mac, gone }));
  }

  /** Has the switches around learn where the cards' addresses are, as the guest has them now. */
  sendRarp(): void {
    for (const { tap, config } of this.#cards) {
      const mac = config.subarray(netConfig.mac, netConfig.mac + macBytes);
      // One that is lost, or whose TAP is gone, is nobody's harm.
      tryWrite(tap.fd, Buffer.concat([plainPacket, rarpRequest(mac)]));
    }
  }

  /** Somebody has removed a TAP of ours. */
  tapIsGone(name: string): void {
    for (const card of this.#cards) if (card.tap.name === name) card.gone = true;
  }

  close(): void {
    this.#owner.close();
  }

  #disk(config: DiskConfig, index: number, place: Place, keepsPairStamps: boolean): DeviceOrder {
    const { path, direct, overlay: overlayPath, werror, sector, format } = config;
    const id = nameOfDisk(config, index);
    const readOnly = config.readonly || overlayPath !== undefined;
    const raw = format === 'raw';
    const file = openDiskFile(path, { readOnly, direct, raw, ...(sector === undefined ? {} : { sector }) });
    this.#owner.defer(() => closeSync(file.fd));
    const { sizeBytes } = file;
    const facts = { id, path, sizeBytes, readOnly: config.readonly, direct };
    this.disks.push(overlayPath === undefined ? facts : { ...facts, overlay: overlayPath });
    if (file.tableSector !== undefined && file.tableSector !== (sector ?? sectorBytes)) {
      this.warnings.push(
        `disk ${id}: its partition table is for sectors of ${file.tableSector} bytes, and the guest will not find it in ` +
          `sectors of ${sector ?? sectorBytes}: give sector=${file.tableSector}`,
      );
    }
    const mark = config.readonly ? undefined : markWarning(overlayPath ?? path);
    if (mark !== undefined) this.warnings.push(`disk ${id}: ${mark}`);
    const order = { kind: 'disk', id, file, sector, writeErrors: werror } as const;
    if (overlayPath === undefined) {
      if (!config.readonly && !keepsPairStamps) removePairStamp(path);
      return place(`disk ${id}`, blockShape(file, sector), order);
    }
    if (config.readonly) throw new ConfigError(`disk ${id}: an overlay is there to be written; leave out readonly=on`);
    const overlay = openOverlay(overlayPath, file.sizeBytes, { direct });
    this.#owner.defer(() => closeSync(overlay.file.fd));
    if (!keepsPairStamps) removePairStamp(overlayPath);
    return place(`disk ${id}`, blockShape(overlayGeometry(file), sector), { ...order, overlay });
  }

  #net(config: NetConfig, place: Place): DeviceOrder {
    const { tap: name, mac, mtu, bridge, offload } = config;
    const address = mac === undefined ? randomMac() : parseMac(mac);
    const tap = this.#owner.own(
      new Tap({
        name,
        address: tapAddress(address),
        ...(mtu === undefined ? {} : { mtu }),
        ...(bridge === undefined ? {} : { bridge }),
      }),
    );
    const shape = netShape({
      mac: address,
      offload,
      ...(mtu === undefined ? {} : { mtu }),
    });
    const order = place(`net ${name}`, shape, { kind: 'net', tap: tap.fd, name });
    const registers = mmioState(shape, order.virtio.state);
    this.#cards.push({ tap, mac: formatMac(address), config: registers.config, gone: false });
    return order;
  }
}

type Place = (name: string, shape: VirtioShape, device: DeviceOrder['device']) => DeviceOrder;

/** A network card, with what it shows its driver now. */
interface Card {
  readonly tap: Tap;
  /** As configured. */
  readonly mac: string;
  readonly config: Uint8Array;
  gone: boolean;
}

/** The header of a packet without offloads (Virtio 1.2, 5.1.6). */
const plainPacket = new Uint8Array(12);

/**
 * The address of the host's end of a card. Of its ports' addresses a bridge takes the lowest for its own, so that it is to be a
 * high one; and always the same, for guests remember it.
 */
function tapAddress(mac: Uint8Array): Uint8Array {
  const address = Uint8Array.from(mac);
  address[0] = mac[0] === 0xfe ? 0xfa : 0xfe;
  return address;
}

function parseMac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (pair) => Number.parseInt(pair, 16));
}

function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** A unicast address that nobody administers (IEEE 802, 8.4): first byte 02. */
function randomMac(): Uint8Array {
  const mac = crypto.getRandomValues(new Uint8Array(6));
  mac[0] = 2;
  return mac;
}

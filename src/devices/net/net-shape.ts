import { TUN_F_CSUM, TUN_F_TSO_ECN, TUN_F_TSO4, TUN_F_TSO6 } from '../../host/net/tap-abi.ts';
import type { VirtioShape } from '../virtio/virtio-device.ts';

/** Feature bits of a network card (Virtio 1.2, 5.1.3). */
export const netFeature = {
  /** The device fills in checksums. */
  checksum: 1n << 0n,
  /** The driver copes with packets whose checksum is not filled in. */
  guestChecksum: 1n << 1n,
  controlGuestOffloads: 1n << 2n,
  mtu: 1n << 3n,
  mac: 1n << 5n,
  guestTso4: 1n << 7n,
  guestTso6: 1n << 8n,
  guestEcn: 1n << 9n,
  hostTso4: 1n << 11n,
  hostTso6: 1n << 12n,
  hostEcn: 1n << 13n,
  mergeableBuffers: 1n << 15n,
  status: 1n << 16n,
  controlQueue: 1n << 17n,
  controlReceive: 1n << 18n,
  guestAnnounce: 1n << 21n,
  controlMac: 1n << 23n,
} as const;

const f = netFeature;

/** Packets that are not plain, which a driver may let the device send it. */
export const guestOffloads = f.guestChecksum | f.guestTso4 | f.guestTso6 | f.guestEcn;
const offloads = guestOffloads | f.checksum | f.hostTso4 | f.hostTso6 | f.hostEcn | f.controlGuestOffloads;

/** Order of the queues (5.1.2). */
export const netQueue = { receive: 0, transmit: 1, control: 2 } as const;

/** Offsets in the configuration (5.1.4). */
export const netConfig = { mac: 0, status: 6, maxQueuePairs: 8, mtu: 10, size: 12 } as const;
export const macBytes = 6;

/** Bits of the status. */
export const LINK_UP = 1;
export const ANNOUNCE = 2;

/** Room for all that the host queues for a TAP (1000 packets), so that a stream seldom waits for new buffers. */
const receiveQueueSize = 1024;
const transmitQueueSize = 256;
const controlQueueSize = 64;

export interface NetOptions {
  readonly mac: Uint8Array;
  /** Told to the driver, which then keeps to it; 1500 is assumed if not given. */
  readonly mtu?: number;
  /** Checksums and segmentation are left to the receiver of a packet, in both directions. */
  readonly offload: boolean;
}

/** A network card as its registers show it. */
export function netShape({ mac, mtu, offload }: NetOptions): VirtioShape {
  if (mac.length !== macBytes) throw new RangeError(`a MAC address has ${macBytes} bytes, not ${mac.length}`);
  const config = new Uint8Array(netConfig.size);
  const view = new DataView(config.buffer);
  config.set(mac, netConfig.mac);
  view.setUint16(netConfig.status, LINK_UP, true);
  view.setUint16(netConfig.maxQueuePairs, 1, true);
  view.setUint16(netConfig.mtu, mtu ?? 0, true);
  return {
    deviceId: 1,
    features:
      f.mac |
      f.status |
      f.mergeableBuffers |
      f.controlQueue |
      f.controlReceive |
      f.controlMac |
      f.guestAnnounce |
      (mtu === undefined ? 0n : f.mtu) |
      (offload ? offloads : 0n),
    queueSizes: [receiveQueueSize, transmitQueueSize, controlQueueSize],
    // Written out: they stay what they were, whatever becomes of those above.
    configured: [
      { features: offloads, key: 'offload', offered: 'on', missing: 'off' },
      { features: f.mtu, key: 'mtu', offered: 'given', missing: 'not given' },
    ],
    earlierQueueSizes: [256, 256, 64],
    config,
  };
}

/** The guest's offloads as the TAP takes them; undefined if one lacks another that it needs (5.1.3.1). */
export function tapOffloads(bits: bigint): number | undefined {
  const has = (bit: bigint): boolean => (bits & bit) !== 0n;
  const segments = has(f.guestTso4) || has(f.guestTso6);
  if (segments && !has(f.guestChecksum)) return undefined;
  if (has(f.guestEcn) && !segments) return undefined;
  return (
    (has(f.guestChecksum) ? TUN_F_CSUM : 0) |
    (has(f.guestTso4) ? TUN_F_TSO4 : 0) |
    (has(f.guestTso6) ? TUN_F_TSO6 : 0) |
    (has(f.guestEcn) ? TUN_F_TSO_ECN : 0)
  );
}

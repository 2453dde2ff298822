import type { DiskFile } from '../../block/disk-file.ts';
import type { OpenOverlay } from '../../block/overlay-file.ts';
import type { InterruptPin } from '../../host/kvm/interrupt-edge.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import type { DiskConfig } from '../config/device-config.ts';
import type { SharedVirtio } from '../platform/virtio-slots.ts';

/** A disk that is open. */
export interface DiskOrder {
  readonly kind: 'disk';
  readonly id: string;
  readonly file: DiskFile;
  /** What is written, over `file`. */
  readonly overlay?: OpenOverlay;
  /** Bytes of a sector, if they are configured. */
  readonly sector: number | undefined;
  readonly writeErrors: DiskConfig['werror'];
}

/** A network card whose TAP is open. */
export interface NetOrder {
  readonly kind: 'net';
  readonly tap: Fd;
  /** Of the TAP. */
  readonly name: string;
}

/** A source of entropy: the host's, or one that gives the same bytes for the same seed. */
export interface RngOrder {
  readonly kind: 'rng';
  readonly seed?: number;
}

/** What the io thread is to make a device of. */
export interface DeviceOrder {
  /** As messages call it. */
  readonly name: string;
  readonly virtio: SharedVirtio;
  readonly interrupt: InterruptPin;
  readonly device: DiskOrder | NetOrder | RngOrder;
}

import { closeSync } from 'node:fs';
import type { BlockBackend } from '../../block/block-backend.ts';
import type { EngineChooser } from '../../block/disk-engines.ts';
import { type DiskFile, reopenDiskFile } from '../../block/disk-file.ts';
import { Overlay } from '../../block/overlay.ts';
import type { OpenOverlay } from '../../block/overlay-file.ts';
import { RawFile } from '../../block/raw-file.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { DeviceOrder } from '../../vmm/io/device-orders.ts';
import type { HistoryDisk } from './history/history-store.ts';

/** One of the machine's disks, as another thread gets it: the descriptors stay their owner's. Its number is its place. */
export interface DiskView {
  readonly id: string;
  readonly file: DiskFile;
  readonly overlay?: OpenOverlay;
}

/** The disks among a machine's devices, in their order. */
export function diskViews(orders: readonly DeviceOrder[]): DiskView[] {
  return orders.flatMap(({ device }) => {
    if (device.kind !== 'disk') return [];
    const { id, file, overlay } = device;
    return [overlay === undefined ? { id, file } : { id, file, overlay }];
  });
}

/** A disk as its history knows it. */
export function historyDisk({ file, overlay }: DiskView): HistoryDisk {
  const { sizeBytes } = file;
  if (overlay === undefined) return { path: file.path, sizeBytes, readOnly: file.readOnly };
  return { path: overlay.file.path, sizeBytes, readOnly: false };
}

/** A disk that is open on this thread too. */
export interface OpenDisk {
  readonly id: string;
  /** What is written: the overlay, where there is one. */
  readonly path: string;
  readonly backend: BlockBackend;
}

/**
 * Who else flushes the disks while they are open here. `both`: the machine's own thread may, while a flush of this thread's is still
 * under way. An overlay's is not then, for all threads have its bits in common (see StandbyDisks.handOver).
 */
export type Flushes = 'its own thread' | 'both';

/** Opens a machine's disks on this thread. What the machine's own thread writes is seen here, and the other way round. */
export class OpenDisks implements Closable {
  readonly disks: readonly OpenDisk[];
  readonly #owner = new Owner();

  /** @throws DiskError if a disk cannot be opened once more */
  constructor(views: readonly DiskView[], engines: EngineChooser, flushes: Flushes) {
    try {
      this.disks = views.map((view) => this.#open(view, engines, flushes === 'both'));
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  close(): void {
    this.#owner.close();
  }

  #open({ id, file, overlay: top }: DiskView, engines: EngineChooser, reopens: boolean): OpenDisk {
    if (top === undefined) {
      const raw = new RawFile(reopens && !file.readOnly ? this.#reopen(file) : file, engines);
      return { id, path: file.path, backend: this.#owner.own(raw) };
    }
    const raw = new RawFile(file, engines);
    const below = new Owner();
    below.own(raw);
    const overlay = new Overlay(top, raw, engines, below);
    // Bits that no flush has written are the machine's own thread's to write.
    this.#owner.defer(() => overlay.leave());
    return { id, path: top.file.path, backend: overlay };
  }

  /** Of one open file the kernel tells of lost data once: a flush here would keep that from the guest's. */
  #reopen(file: DiskFile): DiskFile {
    const own = reopenDiskFile(file);
    this.#owner.defer(() => closeSync(own.fd));
    return own;
  }
}

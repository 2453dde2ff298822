import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DiskFile, openDiskFile } from '../../../src/block/disk-file.ts';
import { defaultSettings } from '../../../src/colo/core/settings.ts';
import { newSharedDisks } from '../../../src/colo/disk/shared-disks.ts';
import { StateEncoder } from '../../../src/colo/machine/checkpoint-state.ts';
import type { MachineShape } from '../../../src/colo/protocol/machine-shape.ts';
import type { CallPort } from '../../../src/colo/side/calls.ts';
import type { HostBirth } from '../../../src/colo/side/host.ts';
import { EventFd } from '../../../src/host/events/eventfd.ts';
import { close, createPipe, type Fd, tryRead } from '../../../src/host/libc/descriptors.ts';
import { viewMemory } from '../../../src/host/libc/memory.ts';
import { SharedRange } from '../../../src/host/mappings/mapping.ts';
import { type Closable, Owner } from '../../../src/host/ownership.ts';
import { pageSize } from '../../../src/memory/address.ts';
import type { SharedRam } from '../../../src/memory/guest-ram.ts';
import { layOutRam } from '../../../src/memory/regions.ts';
import type { DeviceOrder } from '../../../src/vmm/io/device-orders.ts';
import type { BootDescriptors, NamedFile } from '../../../src/vmm/machine/machine-shape.ts';
import { IoControl, type SharedIoControl } from '../../../src/vmm/platform/io-control.ts';
import { newSharedPackets } from '../../../src/vmm/platform/packet-rings.ts';
import type { SharedProtection } from '../../../src/vmm/platform/shared-protection.ts';
import { StateImage } from '../../../src/vmm/vmstate/state-image.ts';
import { ShuffledEngine } from '../../../test/support/shuffled-engine.ts';
import { emptyMachineState } from '../../../test/support/snapshot-machine.ts';
import type { Random } from '../fuzz-target.ts';
import { FakeTime } from './fake-time.ts';

export const ramPages = 24;
const ramBytes = ramPages * pageSize;
export const diskBytes = 192 * 1024;
const guardByte = 0xa5;
/** Small, so that cases reach it. */
export const diskLogBytes = 256 * 1024;

/** One disk that is written, one that is only read, and a card. */
export const shape: MachineShape = {
  cpus: 1,
  memoryBytes: ramBytes,
  cpuVendor: 'GenuineIntel',
  xsaveBytes: 4096,
  cpuFeatures: [],
  tscKhz: 2_000_000,
  tscScaling: false,
  disks: [
    { id: 'root', path: 'root.img', sizeBytes: diskBytes, readOnly: false },
    { id: 'data', path: 'data.img', sizeBytes: diskBytes, readOnly: true },
  ],
  cards: [{ tap: 'tap0', mac: '02:00:00:00:00:01', offload: true }],
  rng: 'none',
};

const settings = { ...defaultSettings, diskLogBytes, checkpointDelayMs: 400 };
/** More than a ring has in front of its records. */
const ringHeadBytes = 4096;
/** The term that both sides have. */
export const firstTerm = 3;

const realImmediate = setImmediate;
/** What Node calls work on files that is under way. */
const fileWork: ReadonlySet<string> = new Set(['FSReqPromise', 'FSReqCallback', 'CloseReq']);

/** What cases share, because it is dear to make: memory, files and descriptors of a machine that is none. */
export class PeerGround implements Closable {
  readonly time = new FakeTime();
  readonly folder: string;
  readonly ram: SharedRam;
  readonly io: SharedIoControl;
  readonly devices: readonly DeviceOrder[];
  /** A device state that can be read. */
  readonly state: Uint8Array;
  /** Files for what a guest boots. */
  readonly boot: Pick<BootDescriptors, 'kernel' | 'initrd'>;
  engine: ShuffledEngine;
  readonly #rings = { packets: newSharedPackets(), disks: newSharedDisks(diskLogBytes) };
  readonly #owner = new Owner();
  readonly #range: SharedRange;
  readonly #memory: Uint8Array;
  readonly #disks: readonly DiskFile[];
  readonly #tap: Fd;
  readonly #tapBytes = new Uint8Array(1 << 17);
  readonly #unhandled: unknown[] = [];
  readonly #hear = (reason: unknown): void => {
    this.#unhandled.push(reason);
  };

  constructor() {
    this.folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'colo-fuzz-'));
    this.#owner.defer(() => rmSync(this.folder, { recursive: true }));
    // A page before RAM and one behind it that nobody is to touch.
    this.#range = this.#owner.own(new SharedRange('fuzz', ramBytes + 2 * pageSize));
    this.#memory = new Uint8Array(viewMemory(this.#range.address, this.#range.sizeBytes));
    const regions = layOutRam(ramBytes);
    this.ram = {
      address: this.#range.address + pageSize,
      bytes: this.#range.buffer,
      start: this.#range.start + pageSize,
      regions,
      written: regions.map(({ sizeBytes }) => new SharedArrayBuffer(Math.ceil(sizeBytes / pageSize / 64) * 8)),
      tracking: new SharedArrayBuffer(4),
    };
    this.#disks = shape.disks.map(({ id, readOnly }) => {
      const path = join(this.folder, id);
      writeFileSync(path, '');
      ftruncate(path, diskBytes);
      const file = openDiskFile(path, { raw: true, readOnly });
      this.#owner.defer(() => closeSync(file.fd));
      // As a device, beside which nothing is marked.
      return { ...file, path: '/dev/null' };
    });
    this.boot = { kernel: this.#namelessFile('kernel'), initrd: this.#namelessFile('initrd') };
    const [reader, tap] = createPipe();
    this.#owner.defer(() => {
      close(reader);
      close(tap);
    });
    this.#tap = reader;
    const nothing = { virtio: {} as never, interrupt: {} as never };
    this.devices = [
      ...this.#disks.map((file, index) => ({
        name: `disk${index}`,
        ...nothing,
        device: {
          kind: 'disk' as const,
          id: shape.disks[index]?.id ?? '',
          file,
          sector: undefined,
          writeErrors: 'report' as never,
        },
      })),
      { name: 'net0', ...nothing, device: { kind: 'net' as const, tap, name: 'tap0' } },
    ];
    const wake = this.#owner.own(new EventFd());
    this.io = { control: new IoControl().storage, wake: wake.fd };
    this.engine = new ShuffledEngine(() => 0);
    this.state = someState();
    process.on('unhandledRejection', this.#hear);
    this.time.install();
  }

  /** Everything as at the beginning, but time, which only goes on. */
  begin(random: Random): void {
    this.#memory.fill(0);
    this.#memory.fill(guardByte, 0, pageSize);
    this.#memory.fill(guardByte, pageSize + ramBytes);
    const [root] = this.#disks as [DiskFile];
    ftruncateSync(root.fd, 0);
    ftruncateSync(root.fd, diskBytes);
    writeFileSync(join(this.folder, 'term.json'), `{"term":${firstTerm}}`);
    this.engine.close();
    this.engine = new ShuffledEngine(random);
    this.time.forget();
    this.takePackets();
  }

  birth(): Omit<HostBirth, 'security' | 'arbiter'> & {
    security: HostBirth['security'];
    arbiter: HostBirth['arbiter'];
  } {
    return {
      pair: 'web',
      settings,
      security: { kind: 'plaintext' },
      arbiter: { kind: 'manual' },
      stateDirectory: this.folder,
      holder: 'fuzz',
      now: () => this.time.now,
    };
  }

  /** As new: their positions stand in front, and nothing behind them is read before it is written. */
  rings(): Pick<SharedProtection, 'packets' | 'disks'> {
    const { packets, disks } = this.#rings;
    for (const ring of [packets.outbox, packets.mirror, disks.ring]) new Uint8Array(ring).fill(0, 0, ringHeadBytes);
    return {
      packets: { ...packets, control: copyOf(packets.control) },
      disks: { ...disks, control: copyOf(disks.control) },
    };
  }

  /** Packets that left, as they were written one after the other. */
  takePackets(): Uint8Array {
    let length = 0;
    for (let count = 1; count > 0 && length < this.#tapBytes.length; length += Math.max(0, count)) {
      count = tryRead(this.#tap, this.#tapBytes.subarray(length));
    }
    return this.#tapBytes.slice(0, length);
  }

  /** Until nothing happens any more of its own. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; ) {
      let busy = this.engine.inFlight > 0;
      while (this.engine.inFlight > 0) this.engine.reap();
      await new Promise((resolve) => realImmediate(resolve));
      busy ||= this.engine.inFlight > 0;
      // Dear, so it is asked when all else is quiet.
      if (!busy && quiet === 2) busy = process.getActiveResourcesInfo().some((name) => fileWork.has(name));
      quiet = busy ? 0 : quiet + 1;
    }
  }

  /** @throws Error if something was touched that is not the peer's to touch, or got lost unheard */
  check(): void {
    const memory = this.#memory;
    for (let at = 0; at < pageSize; at++) {
      if (memory[at] !== guardByte || memory[pageSize + ramBytes + at] !== guardByte) {
        throw new Error('memory outside RAM was written');
      }
    }
    for (const { fd } of this.#disks) if (fstatSync(fd).size !== diskBytes) throw new Error('a disk has another size');
    const [first] = this.#unhandled;
    if (first !== undefined) throw new Error(`nobody heard: ${first instanceof Error ? first.stack : String(first)}`);
  }

  /** @throws Error if the disk that is only read has been written */
  checkReadOnlyDisk(): void {
    const bytes = Buffer.alloc(diskBytes);
    readSync((this.#disks[1] as DiskFile).fd, bytes, 0, diskBytes, 0);
    if (bytes.some((byte) => byte !== 0)) throw new Error('a disk that is only read was written');
  }

  #namelessFile(name: string): NamedFile {
    const path = join(this.folder, name);
    const fd = openSync(path, 'wx+') as Fd;
    this.#owner.defer(() => closeSync(fd));
    unlinkSync(path);
    return { name, fd };
  }

  close(): void {
    this.time.uninstall();
    process.off('unhandledRejection', this.#hear);
    this.engine.close();
    this.#owner.close();
  }
}

function copyOf(storage: SharedArrayBuffer): SharedArrayBuffer {
  const copy = new SharedArrayBuffer(storage.byteLength);
  new Uint8Array(copy).set(new Uint8Array(storage));
  return copy;
}

function ftruncate(path: string, bytes: number): void {
  writeFileSync(path, new Uint8Array(bytes));
}

function someState(): Uint8Array {
  const image = new StateImage({ cpus: 1, msrRows: 1, cpuidRows: 1, xsaveBytes: 4096 });
  image.memoryBytes = ramBytes;
  const { serial } = emptyMachineState(ramBytes);
  const { storage, sizeBytes } = new StateEncoder().encode({
    image,
    own: { serial, pciAddress: 7 },
    devices: [],
    seed: new Uint8Array(32).fill(7),
  });
  return new Uint8Array(storage, 0, sizeBytes).slice();
}

/** Two ends of a line between threads that are one. */
export function portPair(): readonly [CallPort, CallPort] {
  const listeners: [((value: unknown) => void)[], ((value: unknown) => void)[]] = [[], []];
  const end = (mine: 0 | 1, other: 0 | 1): CallPort => ({
    postMessage: (value: unknown) => {
      const copy = structuredClone(value);
      queueMicrotask(() => {
        for (const listener of listeners[other]) listener(copy);
      });
    },
    on: (_event: 'message', listener: (value: unknown) => void) => listeners[mine].push(listener),
  });
  return [end(0, 1), end(1, 0)];
}

/** What a log says of a defect of ours rather than of a peer. */
export const defect = /TypeError|RangeError|ReferenceError|not a function|is not defined|Cannot read|is not iterable/;

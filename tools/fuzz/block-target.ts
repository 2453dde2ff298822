import type { BlockBackend, BlockRequest } from '../../src/block/block-backend.ts';
import { BlockDevice } from '../../src/devices/block/block-device.ts';
import { blockRequestType, headerBytes, segmentBytes } from '../../src/devices/block/block-request.ts';
import { blockShape, sectorBytes } from '../../src/devices/block/block-shape.ts';
import type { WriteErrorPolicy } from '../../src/devices/block/file-failures.ts';
import { EIO, ENOSPC } from '../../src/host/errno.ts';
import type { FuzzTarget, Random } from './fuzz-target.ts';
import type { HostileMemory } from './hostile-memory.ts';

const sectors = 64;

interface Pending {
  readonly request: BlockRequest;
  readonly what: 'read' | 'write' | 'other';
}

/** A disk of nothing, which looks well at what it is given and finishes requests in any order. */
class FuzzBackend implements BlockBackend {
  readonly sizeBytes = sectors * sectorBytes;
  readonly readOnly = false;
  readonly physicalBlockBytes = 4096;
  readonly discardBytes = 4096;
  ram: HostileMemory | undefined;
  readonly #submitted: Pending[] = [];
  readonly #started: Pending[] = [];

  read(request: BlockRequest): void {
    this.#submit(request, 'read');
  }

  write(request: BlockRequest): void {
    this.#submit(request, 'write');
  }

  flush(request: BlockRequest): void {
    this.#submitted.push({ request, what: 'other' });
  }

  discard(request: BlockRequest): void {
    this.#submit(request, 'other');
  }

  writeZeroes(request: BlockRequest): void {
    this.#submit(request, 'other');
  }

  start(): void {
    this.#started.push(...this.#submitted.splice(0));
  }

  close(): void {}

  /** Finishes a request, or several. */
  finish(random: Random, calm: boolean): void {
    for (let count = 1 + random(4); count > 0 && this.#started.length > 0; count--) {
      const [pending] = this.#started.splice(random(this.#started.length), 1);
      if (pending === undefined) return;
      const fails = !calm && random(6) === 0;
      if (!fails) this.#transfer(pending);
      pending.request.finished(fails ? -(random(2) === 0 ? ENOSPC : EIO) : 0);
    }
  }

  #submit(request: BlockRequest, what: Pending['what']): void {
    const { offset, length, data } = request;
    if (!Number.isSafeInteger(offset) || offset < 0 || offset % sectorBytes !== 0 || length % sectorBytes !== 0) {
      throw new Error(`the backend is asked for ${length} bytes at ${offset}`);
    }
    if (offset + length > this.sizeBytes) throw new Error(`${length} bytes at ${offset} are not on the disk`);
    if (what !== 'other' && data.bytes !== length) throw new Error(`${data.bytes} bytes of memory for ${length}`);
    this.#submitted.push({ request, what });
  }

  #transfer({ request, what }: Pending): void {
    if (what === 'other') return;
    const { data } = request;
    for (let range = 0; range < data.count; range++) {
      this.ram?.callKernel(data.addressOf(range), data.lengthOf(range), what === 'read' ? 'write' : 'read');
    }
  }
}

const kinds = ['in', 'out', 'flush', 'get id', 'discard', 'write zeroes', 'unknown', 'short', 'no room'] as const;
const types: Readonly<Record<(typeof kinds)[number], number>> = {
  in: blockRequestType.in,
  out: blockRequestType.out,
  flush: blockRequestType.flush,
  'get id': blockRequestType.getId,
  discard: blockRequestType.discard,
  'write zeroes': blockRequestType.writeZeroes,
  unknown: 99,
  short: blockRequestType.in,
  'no room': blockRequestType.in,
};

function hostileBytes(random: Random, kind: (typeof kinds)[number], data: number): Uint8Array {
  const isRange = kind === 'discard' || kind === 'write zeroes';
  const bytes = new Uint8Array(headerBytes + (kind === 'out' ? data : isRange ? segmentBytes : 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, types[kind], true);
  view.setUint32(8, random(sectors + 2), true);
  if (random(20) === 0) view.setUint32(12, random(0x1_0000_0000), true);
  if (isRange) {
    view.setUint32(headerBytes, random(sectors), true);
    if (random(20) === 0) view.setUint32(headerBytes + 4, 0xffff_ffff, true);
    view.setUint32(headerBytes + 8, random(10) === 0 ? random(0x1_0000_0000) : random(8), true);
    view.setUint32(headerBytes + 12, random(5) === 0 ? random(8) : 0, true);
  }
  return kind === 'short' ? bytes.subarray(0, random(headerBytes)) : bytes;
}

export function blockTarget(): FuzzTarget {
  const backend = new FuzzBackend();
  const shape = blockShape(backend);
  const policies: readonly WriteErrorPolicy[] = ['report', 'stop', 'enospc'];
  let made = 0;
  let device: BlockDevice | undefined;
  return {
    name: 'block',
    shape,
    kinds,
    lifetimeCases: 256,
    device: (host, config, ram) => {
      backend.ram = ram;
      const events = { onError: () => {}, onStop: () => {} };
      const werror = policies[made++ % policies.length] as WriteErrorPolicy;
      device = new BlockDevice({ backend, memory: ram.memory, host, config, events, werror, id: 'fuzz' });
      return device;
    },
    poll: (random, calm) => {
      backend.finish(random, calm);
      device?.batchFinished();
      if (device?.hasMore) device.turn();
    },
    hostile: (random) => {
      const kind = kinds[random(kinds.length)] as (typeof kinds)[number];
      const data = random(8) === 0 ? random(3000) : sectorBytes * random(5);
      const room = kind === 'in' ? data + 1 : kind === 'get id' ? 21 : kind === 'no room' ? 0 : 1;
      return {
        queue: 0,
        kind,
        readable: hostileBytes(random, kind, data),
        writableBytes: random(20) === 0 ? random(30) : room,
      };
    },
    request: (driver) => {
      const head = driver.queues[0]?.add([{ read: new Uint8Array(headerBytes) }, { write: sectorBytes }, { write: 1 }]);
      return {
        queue: 0,
        head: head ?? -1,
        check: ({ bytes }) => {
          const status = bytes[sectorBytes];
          if (bytes.length !== sectorBytes + 1 || status !== 0) throw new Error(`a read gives status ${status}`);
        },
      };
    },
    close: () => {},
  };
}

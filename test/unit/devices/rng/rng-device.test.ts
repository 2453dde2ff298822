import { test } from 'tap';
import type { RandomSource } from '../../../../src/devices/rng/random-source.ts';
import { RngDevice, rngShape } from '../../../../src/devices/rng/rng-device.ts';
import { checkRngState } from '../../../../src/devices/rng/rng-state-schema.ts';
import { SeededRandom } from '../../../../src/devices/rng/seeded-random.ts';
import { EAGAIN } from '../../../../src/host/errno.ts';
import { viewMemory } from '../../../../src/host/libc/memory.ts';
import { kernelRandom } from '../../../../src/host/system/random.ts';
import { MiB, pageSize } from '../../../../src/memory/address.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import type { ContractDevice } from '../../../support/contract-device.ts';
import { goOnElsewhere, savedState } from '../../../support/go-on-elsewhere.ts';
import { virtioRig } from '../../../support/mock-driver.ts';
import type { MockQueue } from '../../../support/mock-queue.ts';
import { virtioContract } from '../../../support/virtio-contract.ts';

/** Writes 1, 2, 3, ..., as long as it has any. */
class Counting implements RandomSource {
  #next = 1;
  left = Number.POSITIVE_INFINITY;

  fill(address: number, length: number): number {
    if (this.left === 0) return -EAGAIN;
    const part = Math.min(length, this.left);
    const bytes = new Uint8Array(viewMemory(address, length));
    for (let index = 0; index < part; index++) bytes[index] = this.#next++;
    this.left -= part;
    return part;
  }
}

function rngRig(t: { teardown(clean: () => unknown): unknown }, source: RandomSource = new Counting()) {
  const ram = new Ram(8 * MiB);
  let device: RngDevice | undefined;
  const rig = virtioRig({
    shape: rngShape,
    memory: ram.memory,
    device: (host, _config, memory) => {
      device = new RngDevice({ memory, source, host });
      return device;
    },
  });
  t.teardown(() => {
    rig.transport.close();
    ram.close();
  });
  rig.driver.start();
  return { ...rig, device: device as unknown as RngDevice, queue: rig.driver.queues[0] as MockQueue };
}

function contractParts(): ContractDevice {
  const ram = new Ram(8 * MiB);
  return {
    shape: rngShape,
    memory: ram.memory,
    device: (host, _config, memory) => new RngDevice({ memory, source: kernelRandom, host }),
    request: (driver) => ({
      queue: 0,
      head: driver.queues[0]?.add([{ write: 64 }]) ?? -1,
      check: ({ bytes }) => {
        if (bytes.length !== 64 || bytes.every((byte) => byte === 0)) throw new Error(`not random: ${bytes}`);
      },
    }),
    checkState: checkRngState,
    another: contractParts,
    close: () => ram.close(),
  };
}

virtioContract('an entropy device', contractParts);

test('fills all buffers of a request', async (t) => {
  const rig = rngRig(t);
  rig.queue.add([{ write: 3 }, { write: 1 }, { write: 4 }]);
  rig.driver.kick(0);
  t.strictSame([...rig.queue.collectOne().bytes], [1, 2, 3, 4, 5, 6, 7, 8]);
  t.equal(rig.device.bytes, 8);
});

test('answers at most 64 KiB of a request, and an amount of requests a turn', async (t) => {
  const rig = rngRig(t, { fill: (_address, length) => length });
  const huge = { address: 1 * MiB, length: 4 * MiB, writable: true };
  for (let index = 0; index < 10; index++) rig.queue.addPlaced([huge]);
  rig.driver.kick(0);
  t.strictSame(
    rig.queue.collect().map(({ length }) => length),
    [65_536, 65_536, 65_536, 65_536],
  );
  t.equal(rig.device.hasMore, true);
  rig.device.turn();
  rig.device.turn();
  t.equal(rig.queue.collect().length, 6);
  t.equal(rig.device.hasMore, false);
});

test('answers with what the source has', async (t) => {
  const source = new Counting();
  source.left = 5;
  const rig = rngRig(t, source);
  rig.queue.add([{ write: 4 }, { write: 4 }, { write: 4 }]);
  rig.queue.add([{ write: 4 }]);
  rig.driver.kick(0);
  t.strictSame(
    rig.queue.collect().map(({ bytes }) => [...bytes]),
    [[1, 2, 3, 4, 5], []],
  );
  t.equal(rig.device.failures, 2);
});

test('takes its bytes from another source from now on', async (t) => {
  const rig = rngRig(t);
  rig.device.source = { fill: () => -EAGAIN };
  rig.queue.add([{ write: 4 }]);
  rig.driver.kick(0);
  t.equal(rig.queue.collectOne().length, 0);
});

test('marks what it wrote as dirty', async (t) => {
  const rig = rngRig(t);
  rig.memory.tracking = true;
  rig.queue.addPlaced([{ address: 2 * MiB - 1, length: 2, writable: true }]);
  rig.driver.kick(0);
  const { written } = rig.memory.regions[0] ?? {};
  t.strictSame([written?.has((2 * MiB) / pageSize - 1), written?.has((2 * MiB) / pageSize)], [true, true]);
  t.equal(written?.has((2 * MiB) / pageSize + 1), false);
});

test('marks what a source may have written that failed', async (t) => {
  const rig = rngRig(t);
  rig.memory.tracking = true;
  rig.device.source = { fill: () => -EAGAIN };
  rig.queue.addPlaced([{ address: MiB, length: 2 * pageSize, writable: true }]);
  rig.driver.kick(0);
  const { written } = rig.memory.regions[0] ?? {};
  t.strictSame([written?.has(MiB / pageSize), written?.has(MiB / pageSize + 1)], [true, true]);
});

test('stands requests with nothing to write', async (t) => {
  const rig = rngRig(t);
  rig.queue.add([{ read: new Uint8Array(100) }]);
  rig.driver.kick(0);
  t.equal(rig.queue.collectOne().length, 0);
});

test('the kernel fills what it is asked for, whatever the length', async (t) => {
  const ram = new Ram(2 * MiB);
  t.teardown(() => ram.close());
  const base = ram.shared.address;
  const bytes = new Uint8Array(viewMemory(base, 2 * MiB));
  t.equal(kernelRandom.fill(base + 10, 1_000_000), 1_000_000);
  t.ok(bytes.subarray(1_000_000 - 100, 1_000_010).some((byte) => byte !== 0));
  t.ok(bytes.subarray(1_000_010).every((byte) => byte === 0));
  t.ok(kernelRandom.fill(0, 10) < 0);
});

test('goes on with the same bytes where another one saved its seeded source', async (t) => {
  const [first, next] = [new SeededRandom(7), new SeededRandom(99)];
  t.teardown(() => [first, next].forEach((source) => void source.close()));
  const rig = rngRig(t, first);
  rig.queue.add([{ write: 10 }]);
  rig.driver.kick(0);
  rig.queue.collectOne();
  const other = rngRig(t, next);
  goOnElsewhere(rig, other);
  const bytes = [rig, other].map(({ transport, driver }) => {
    transport.resume();
    const [queue] = driver.queues;
    queue?.add([{ write: 16 }]);
    driver.kick(0);
    return queue?.collectOne().bytes;
  });
  t.strictSame(bytes[1], bytes[0]);
});

test('keeps its seeded source over a reset of its driver', async (t) => {
  const source = new SeededRandom(7);
  t.teardown(() => source.close());
  const rig = rngRig(t, source);
  const before = savedState(rig).device;
  rig.transport.resume();
  rig.driver.reset();
  t.strictSame(savedState(rig).device, before);
});

test('refuses a state whose source is of the other kind', async (t) => {
  const source = new SeededRandom(7);
  t.teardown(() => source.close());
  const [seeded, plain] = [rngRig(t, source), rngRig(t)];
  const [there, here] = [savedState(seeded), savedState(plain)];
  t.throws(() => plain.transport.prepareLoad(there), { code: 'VM_STATE', message: /a seeded one, and here it is the/ });
  t.throws(() => seeded.transport.prepareLoad(here), { code: 'VM_STATE', message: /host's, and here it is a seeded/ });
});

test('refuses a state in which requests are taken and not given back, for there never are any', async (t) => {
  const rig = rngRig(t);
  const state = savedState(rig);
  for (const position of [
    { nextAvail: 1, nextUsed: 0, signalled: 0 },
    { nextAvail: 1, nextUsed: 1, signalled: 0 },
  ]) {
    const positions = [position, ...state.positions.slice(1)];
    t.throws(() => rig.transport.prepareLoad({ ...state, positions }), {
      code: 'VM_STATE',
      message: /^positions\[0\] cannot be avail 1, used [01], signalled 0 where/,
    });
  }
});

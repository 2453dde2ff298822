import { type Test, test } from 'tap';
import { newSharedDisks } from '../../../../src/colo/disk/shared-disks.ts';
import { rngShape } from '../../../../src/devices/rng/rng-device.ts';
import { MmioRegisters } from '../../../../src/devices/virtio/mmio-registers.ts';
import { cell, mmioState } from '../../../../src/devices/virtio/mmio-state.ts';
import { EventLoop } from '../../../../src/host/events/event-loop.ts';
import { EventFd } from '../../../../src/host/events/eventfd.ts';
import { Owner } from '../../../../src/host/ownership.ts';
import { Doorbell } from '../../../../src/host/threads/doorbell.ts';
import { Handshake } from '../../../../src/host/threads/handshake.ts';
import { gpa, MiB } from '../../../../src/memory/address.ts';
import { Ram } from '../../../../src/memory/ram.ts';
import { IoDevices } from '../../../../src/vmm/io/io-devices.ts';
import { newSharedPackets, newSharedReplica } from '../../../../src/vmm/platform/packet-rings.ts';
import { EpochSeed } from '../../../../src/vmm/platform/shared-protection.ts';
import { MockDriver } from '../../../support/mock-driver.ts';

/** An io thread's only device, a source of entropy, on this thread. */
function guest(t: Test, seed?: number) {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const ram = owner.own(new Ram(8 * MiB));
  const loop = owner.own(new EventLoop());
  const bell = owner.own(new Doorbell());
  const kick = owner.own(new EventFd());
  const { storage } = mmioState(rngShape);
  const order = {
    name: 'rng',
    virtio: { base: gpa(0), shape: rngShape, state: storage, kicks: [kick.fd] },
    interrupt: { vm: owner.own(new EventFd()).fd, gsi: 6, request: { name: 'FIOCLEX', number: 0x5451 } },
    device: { kind: 'rng', ...(seed === undefined ? {} : { seed }) },
  } as const;
  const devices = owner.own(new IoDevices([order], { memory: ram.memory, loop, report: () => {} }));
  const views = mmioState(rngShape, storage);
  const handshake = new Handshake(views.cells, cell.asked, cell.answered);
  const registers = new MmioRegisters(views, rngShape, {
    synchronize: () => {
      handshake.ask();
      devices.settle();
    },
    notify: () => kick.signal(),
  });
  const driver = new MockDriver(registers, ram.memory);
  driver.start();
  const draw = (length = 64): string => {
    driver.queues[0]?.add([{ write: length }]);
    driver.kick(0);
    loop.turn(1000);
    return Buffer.from(driver.queues[0]?.collectOne().bytes ?? []).toString('hex');
  };
  const own = new EpochSeed();
  const protect = (): void => {
    const rings = { packets: newSharedPackets(), disks: newSharedDisks(MiB) };
    devices.protect({ epoch: new SharedArrayBuffer(8), seed: own.storage, bell: bell.button, ...rings });
  };
  const replicated = newSharedReplica(0, bell.button);
  const state = (): unknown => {
    devices.pause();
    const states = devices.save();
    devices.resume();
    return states[0]?.transport.device;
  };
  return {
    devices,
    draw,
    protect,
    /** As P. */
    seed: own,
    replicate: () => devices.replicate(replicated),
    /** As S. */
    replicaSeed: new EpochSeed(replicated.seed),
    state,
  };
}

const seedOf = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

test("a protected guest and its standby's draw the same from each checkpoint on", async (t) => {
  const [primary, secondary] = [guest(t), guest(t)];
  primary.protect();
  secondary.replicate();
  const seen = new Set([primary.draw()]);
  for (const seed of [1, 2]) {
    primary.seed.give(seedOf(seed));
    secondary.replicaSeed.give(seedOf(seed));
    const bytes = primary.draw();
    t.equal(secondary.draw(), bytes);
    seen.add(bytes);
  }
  t.equal(seen.size, 3);
});

test('a survivor draws of its own kernel, whichever side it was', async (t) => {
  const [primary, secondary] = [guest(t), guest(t)];
  primary.protect();
  secondary.replicate();
  primary.seed.give(seedOf(1));
  secondary.replicaSeed.give(seedOf(1));
  t.equal(secondary.draw(), primary.draw());
  secondary.devices.emerge(undefined);
  const [ahead, own] = [primary.draw(), secondary.draw()];
  t.not(own, ahead, 'what P drew beyond S is not drawn again');
  primary.devices.unprotect();
  const follower = guest(t);
  follower.replicate();
  follower.replicaSeed.give(seedOf(1));
  const stream = follower.draw(64 * 5);
  t.ok(stream.includes(ahead));
  for (const bytes of [own, primary.draw(), secondary.draw()]) t.notOk(stream.includes(bytes));
});

test('what is saved of a protected guest has nothing of what it will draw', async (t) => {
  const { protect, seed, draw, state } = guest(t);
  const alone = state();
  t.strictSame(alone, { kind: 'rng', version: 1, seeded: null });
  protect();
  seed.give(seedOf(1));
  draw();
  t.strictSame(state(), alone);
});

test('entropy that a user gave a seed is the same on both sides by itself, and takes no other', async (t) => {
  const [primary, secondary] = [guest(t, 7), guest(t, 7)];
  primary.protect();
  primary.seed.give(seedOf(1));
  t.equal(primary.draw(), secondary.draw());
});

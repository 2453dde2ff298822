import { isDeepStrictEqual } from 'node:util';
import { decode, encode } from 'cbor-x';
import { test } from 'tap';
import { cell, feature, status, wish } from '../../src/devices/virtio/mmio-state.ts';
import type { TransportState } from '../../src/devices/virtio/transport-state.ts';
import { checkTransportState } from '../../src/devices/virtio/transport-state-schema.ts';
import { VmStateError } from '../../src/devices/vm-state-error.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { asLoaded } from './as-loaded.ts';
import { brokenStates } from './broken-states.ts';
import { answered, type ContractDevice, type ContractRequest, expect, turns } from './contract-device.ts';
import { copyMemory } from './go-on-elsewhere.ts';
import { type MockDriver, type VirtioRig, virtioRig } from './mock-driver.ts';

/** A device with its driver, which may have come from another one. */
class Stand {
  readonly parts: ContractDevice;
  readonly rig: VirtioRig;
  driver: MockDriver;

  constructor(parts: ContractDevice, keep: Stand[]) {
    this.parts = parts;
    this.rig = virtioRig(parts);
    this.driver = this.rig.driver;
    keep.push(this);
  }

  /** Adds a request that the driver does not tell of. */
  request(): ContractRequest {
    return this.parts.request(this.driver);
  }

  answered(request: ContractRequest): Promise<void> {
    return answered(this.rig, this.driver, request);
  }

  /** Waits for the answers to requests of one queue, each of them once, and checks them. */
  async answeredAll(requests: readonly ContractRequest[]): Promise<void> {
    const left = new Map(requests.map((request) => [request.head, request]));
    const queue = this.driver.queues[requests[0]?.queue ?? -1];
    await this.rig.until(() => {
      for (const answer of queue?.collect() ?? []) {
        left.get(answer.head)?.check(answer);
        left.delete(answer.head);
      }
      return left.size === 0;
    });
  }

  /** A request from kick to answer. */
  async serve(): Promise<void> {
    const request = this.request();
    this.driver.kick(request.queue);
    await this.answered(request);
  }

  /** Lets it stand still. */
  async still(): Promise<void> {
    this.rig.transport.pause();
    await this.rig.until(() => this.rig.transport.isQuiet);
  }

  /** Its state, once it stands still, after a trip through CBOR and the check. */
  async save(): Promise<TransportState> {
    await this.still();
    const state = this.rig.transport.save();
    const checked = this.check(decode(encode(state)));
    expect(isDeepStrictEqual(checked, state), 'CBOR and the check change the state');
    return checked;
  }

  check(value: unknown): TransportState {
    return checkTransportState(value, { [kindOf(this.rig)]: this.parts.checkState });
  }

  async load(state: TransportState): Promise<void> {
    await this.still();
    this.rig.transport.prepareLoad(state)();
  }

  /** Takes over memory and driver of another stand. */
  takeOver(from: Stand): void {
    copyMemory(from.rig.memory, this.rig.memory);
    this.driver = from.driver.over(this.rig.registers, this.rig.memory);
  }

  async close(): Promise<void> {
    this.rig.transport.resume();
    this.rig.registers.write(0x70, 4, 0);
    await this.rig.settled();
    this.rig.transport.close();
    this.parts.close?.();
  }
}

/** What every virtio device must do when it is saved and loaded. */
export function saveLoadContract(name: string, make: () => ContractDevice): void {
  /** A test with stands that are closed at its end. */
  const contract = (statement: string, body: (stand: Stand, another: () => Stand) => Promise<void>): void => {
    test(`${name} ${statement}`, async (t) => {
      const stands: Stand[] = [];
      try {
        const stand = new Stand(make(), stands);
        await body(stand, () => new Stand(stand.parts.another(), stands));
        t.pass(statement);
      } finally {
        for (const stand of stands) await stand.close();
      }
    });
  };

  contract('is loaded with what it saved, and goes on', async (stand) => {
    stand.driver.start();
    for (let round = 0; round < 3; round++) {
      await stand.serve();
      const waiting = stand.request();
      await stand.load(await stand.save());
      stand.rig.transport.resume();
      await stand.answered(waiting);
      await stand.serve();
    }
    expect(stand.rig.failures.length === 0, `it failed: ${stand.rig.failures.join()}`);
  });

  for (const [features, accept] of [
    ['all features', undefined],
    ['VERSION_1 alone', feature.version1],
  ] as const) {
    contract(`goes on as a new device in a copy of the machine, with ${features}`, async (stand, another) => {
      stand.driver.start(accept);
      for (let round = 0; round < 3; round++) await stand.serve();
      await stand.still();
      // Told of while nothing listens, and not told of at all: either way the kick is lost.
      const waiting = [stand.request(), stand.request(), stand.request()];
      const state = await stand.save();
      const next = another();
      next.takeOver(stand);
      await next.load(state);
      for (const index of state.positions.keys()) next.rig.transport.device.kicked(index);
      await turns(next.rig);
      const before = next.rig.transport.queues.map(({ position }) => position.nextAvail);
      expect(
        isDeepStrictEqual(
          before,
          state.positions.map(({ nextAvail }) => nextAvail),
        ),
        'it works before it goes on',
      );
      next.rig.transport.resume();
      await next.answeredAll(waiting);
      for (let round = 0; round < 3; round++) await next.serve();
      expect(next.rig.failures.length === 0, `it failed: ${next.rig.failures.join()}`);
    });
  }

  contract('goes back to what it saved, with its memory', async (stand, another) => {
    stand.driver.start();
    await stand.serve();
    const waiting = stand.request();
    const state = await stand.save();
    const memory = another();
    memory.takeOver(stand);
    stand.rig.transport.resume();
    await stand.answered(waiting);
    for (let round = 0; round < 3; round++) await stand.serve();
    await stand.still();
    stand.takeOver(memory);
    await stand.load(state);
    stand.rig.transport.resume();
    // For some devices the first answer is for the request that was waiting, as it was before; each is given once.
    const { queue } = waiting;
    let answers = 0;
    for (let round = 1; round <= 3; round++) {
      stand.request();
      stand.driver.kick(queue);
      await stand.rig.until(() => {
        answers += stand.driver.queues[queue]?.collect().length ?? 0;
        return answers >= round;
      });
    }
    expect(stand.rig.failures.length === 0, `it failed: ${stand.rig.failures.join()}`);
  });

  contract('saves the same twice, and once it is loaded', async (stand, another) => {
    stand.driver.start();
    await stand.serve();
    stand.request();
    const state = await stand.save();
    expect(isDeepStrictEqual(await stand.save(), state), 'the second state is another one');
    await stand.load(state);
    expect(isDeepStrictEqual(await stand.save(), state), 'the state is another one once it is loaded');
    const next = another();
    next.takeOver(stand);
    await next.load(state);
    expect(isDeepStrictEqual(await next.save(), state), 'the state of a new device is another one once it is loaded');
  });

  contract('changes nothing in memory when it is saved and loaded', async (stand) => {
    for (const accept of [undefined, feature.version1]) {
      stand.rig.transport.resume();
      stand.driver.reset();
      await stand.rig.settled();
      stand.driver.start(accept);
      await stand.serve();
      stand.request();
      await stand.still();
      const before = contentOf(stand.rig.memory);
      await stand.load(await stand.save());
      expect(Buffer.compare(before, contentOf(stand.rig.memory)) === 0, 'its memory is another one');
    }
  });

  contract('goes back to a time before its driver started, and is started again', async (stand) => {
    const state = await stand.save();
    stand.rig.transport.resume();
    stand.driver.start();
    await stand.serve();
    const { queue } = stand.request();
    await stand.load(state);
    expect(isDeepStrictEqual(await stand.save(), state), 'the state is another one once it is loaded');
    const before = contentOf(stand.rig.memory);
    stand.rig.transport.resume();
    stand.driver.write('QueueNotify', queue);
    stand.rig.transport.device.kicked(queue);
    await turns(stand.rig);
    expect(Buffer.compare(before, contentOf(stand.rig.memory)) === 0, 'it uses queues that it does not have');
    stand.driver.start();
    await stand.serve();
  });

  contract('is saved at each step of its start, from where a new one goes on', async (stand, another) => {
    const { acknowledge, driver: hasDriver, featuresOk } = status;
    for (let steps = 0; steps <= 5; steps++) {
      const next = another();
      const walk = async (walker: Stand, from: number, to: number): Promise<void> => {
        const { driver } = walker;
        const all = [
          () => driver.reset(),
          () => driver.addStatus(acknowledge),
          () => driver.addStatus(hasDriver),
          () => {
            driver.setFeatures(driver.offered());
            driver.addStatus(featuresOk);
          },
          () => driver.setUpQueues(),
          () => driver.finish(),
        ];
        for (const step of all.slice(from, to)) step();
        await walker.rig.settled();
      };
      stand.rig.transport.resume();
      await walk(stand, 0, steps);
      const state = await stand.save();
      next.takeOver(stand);
      await next.load(state);
      expect(isDeepStrictEqual(await next.save(), state), `after ${steps} steps the state is another one once loaded`);
      next.rig.transport.resume();
      await walk(next, steps, 6);
      await next.serve();
      expect(next.rig.failures.length === 0, `it failed: ${next.rig.failures.join()}`);
    }
  });

  contract('is saved when it has failed, and then waits for a reset as before', async (stand, another) => {
    stand.driver.start();
    const { queue } = stand.request();
    stand.driver.queues[queue]?.offer(0xffff);
    stand.driver.write('QueueNotify', queue);
    await stand.rig.until(() => (stand.driver.status & status.needsReset) !== 0);
    await comesBack(stand, another(), queue);
  });

  contract('is saved when it has refused its driver, and then waits for a reset as before', async (stand, another) => {
    stand.driver.negotiate();
    stand.driver.setUpQueues();
    stand.driver.write('QueueSel', 0);
    stand.driver.write('QueueReady', 0);
    stand.driver.write('QueueNum', 3);
    stand.driver.write('QueueReady', 1);
    stand.driver.finish();
    expect((stand.driver.status & status.needsReset) !== 0, 'it is not refused');
    await comesBack(stand, another(), 0);
  });

  contract(
    'interrupts for nothing once it is loaded: what its driver got is in the interrupt controller',
    async (stand, another) => {
      stand.driver.start(feature.version1);
      await stand.serve();
      const state = await stand.save();
      const next = another();
      next.takeOver(stand);
      await next.load(state);
      expect(next.rig.interrupts === 0, 'it interrupts before it goes on');
      next.rig.transport.resume();
      await turns(next.rig);
      expect(next.rig.interrupts === 0, 'it interrupts though nothing happened');
      expect((next.driver.acknowledgeInterrupt() & 1) === 1, 'the interrupt status is lost');
    },
  );

  contract('is not saved or loaded while it runs, or while its driver waits for it', async (stand) => {
    stand.driver.start();
    const state = await stand.save();
    const { transport } = stand.rig;
    const calls = (what: string): void => {
      for (const call of [() => transport.save(), () => transport.prepareLoad(state)]) {
        let message = '';
        try {
          call();
        } catch (error) {
          message = String(error);
        }
        expect(message.includes(what), `it was done, or: ${message}`);
      }
    };
    transport.resume();
    calls('not paused and quiet');
    await stand.still();
    for (const wanted of [wish.activate, wish.reset]) {
      stand.rig.state.cells[cell.wish] = wanted;
      calls('waits for an activation or a reset');
    }
    stand.rig.state.cells[cell.wish] = wish.none;
  });

  contract('refuses a state of a device of another shape, and is what it was', async (stand) => {
    stand.driver.start();
    await stand.serve();
    const state = await stand.save();
    const { registers } = state;
    const [first, ...others] = registers.queues;
    if (first === undefined) throw new Error('it has no queues');
    for (const [change, what] of [
      [{ deviceId: 99 }, /deviceId is 99, and the device here has \d+/],
      [{ offeredFeatures: registers.offeredFeatures ^ (1n << 50n) }, /offeredFeatures are 0x\w+, and the device here/],
      [{ queues: [{ ...first, maxSize: first.maxSize * 2 }, ...others] }, /queues have up to .* and those here/],
      [{ queues: others }, /queues have up to .* and those here/],
      [
        { config: new Uint8Array(registers.config.length + 1) },
        /config has \d+ bytes, and that of the device here \d+/,
      ],
    ] as const) {
      refused(stand, { ...state, registers: { ...registers, ...change } }, what);
    }
    refused(
      stand,
      { ...state, device: { ...state.device, kind: 'other' } },
      /kind is other, and the device here is \w+/,
    );
    expect(isDeepStrictEqual(await stand.save(), state), 'it is not what it was');
    stand.rig.transport.resume();
    await stand.serve();
  });

  contract('refuses a state that no driver brings a device to, and is what it was', async (stand) => {
    stand.driver.start();
    await stand.serve();
    const state = await stand.save();
    const { registers } = state;
    for (const [registersChange, change, what] of [
      [{ status: 0x0d }, {}, /status cannot be 0xd$/],
      [{ status: 0x0b }, {}, /status cannot be 0xb when the device is active/],
      [{ status: 0x4f }, {}, /status cannot be 0x4f when the device is active/],
      [{}, { phase: 'inactive', positions: [] }, /status cannot be 0xf when the device is inactive/],
      [{}, { phase: 'failed', positions: [] }, /status cannot be 0xf when the device is failed/],
      [{ interruptStatus: 4 }, {}, /interruptStatus cannot be 0x4/],
      [{ driverFeatures: 1n << 29n }, {}, /driverFeatures cannot be 0x20000000 where/],
      [{ driverFeatures: registers.driverFeatures | (1n << 60n) }, {}, /driverFeatures cannot be/],
      [{ driverFeaturesBeyond: 1 }, {}, /driverFeatures cannot be/],
      [{}, { positions: state.positions.slice(1) }, /positions are \d+, and \d+ queues are in use/],
    ] as const) {
      refused(stand, { ...state, ...change, registers: { ...registers, ...registersChange } }, what);
    }
    expect(isDeepStrictEqual(await stand.save(), state), 'it is not what it was');
  });

  contract('refuses a state of a newer version, and says so', async (stand) => {
    stand.driver.start();
    const state = await stand.save();
    const newer = /newer version of colo-vmm: it is of version 2, and this one knows up to 1/;
    for (const value of [
      { ...state, version: 2, more: true },
      { ...state, device: { ...state.device, version: 2, more: true } },
    ]) {
      const message = reasonOf(() => stand.check(value));
      expect(newer.test(message ?? ''), `it said: ${message}`);
    }
  });

  for (const [phase, start] of [
    ['works', (stand: Stand) => stand.driver.start()],
    ['is being started', (stand: Stand) => stand.driver.negotiate()],
  ] as const) {
    contract(`that ${phase} refuses a state with one field broken, or goes on with it`, async (stand, another) => {
      start(stand);
      if (phase === 'works') {
        await stand.serve();
        stand.request();
      }
      const state = await stand.save();
      const victim = another();
      let refusals = 0;
      for (const { change, field, hopeless, value } of brokenStates(state)) {
        const reason = reasonOf(() => stand.rig.transport.prepareLoad(stand.check(value)));
        if (reason !== undefined) {
          refusals++;
          expect(!hopeless || reason.includes(field), `${change}: the field is not named in: ${reason}`);
          continue;
        }
        expect(!hopeless, `${change}: it was not refused`);
        victim.takeOver(stand);
        await stays(victim, victim.check(value));
      }
      expect(refusals > 50, `only ${refusals} were refused`);
      expect(isDeepStrictEqual(await stand.save(), state), 'it is not what it was');
      stand.rig.transport.resume();
      stand.driver.reset();
      await stand.rig.settled();
      stand.driver.start();
      await stand.serve();
    });
  }
}

/** A device that stands still for what its driver did is one in a copy, too; and works after a reset. */
async function comesBack(stand: Stand, next: Stand, queue: number): Promise<void> {
  const state = await stand.save();
  next.takeOver(stand);
  await next.load(state);
  expect(isDeepStrictEqual(await next.save(), state), 'the state is another one once it is loaded');
  next.rig.transport.resume();
  expect((next.driver.status & status.needsReset) !== 0, 'NEEDS_RESET is lost');
  expect(next.rig.interrupts === 0, 'its driver is told twice: it was told before');
  next.driver.write('QueueNotify', queue);
  next.rig.transport.device.kicked(queue);
  await turns(next.rig);
  expect(next.rig.failures.length === 0, `it failed again: ${next.rig.failures.join()}`);
  next.driver.start();
  await next.rig.settled();
  await next.serve();
}

/** Whatever a state that was not refused makes of a device, it throws nothing and can be reset. */
async function stays(victim: Stand, state: TransportState): Promise<void> {
  await victim.load(state);
  expect(isDeepStrictEqual(await victim.save(), asLoaded(state)), 'the state is another one once it is loaded');
  victim.rig.transport.resume();
  for (const index of state.registers.queues.keys()) victim.driver.write('QueueNotify', index);
  await turns(victim.rig);
  await victim.still();
  victim.rig.transport.save();
  victim.rig.transport.resume();
  victim.driver.reset();
  await victim.rig.settled();
}

function refused(stand: Stand, state: TransportState, what: RegExp): void {
  const reason = reasonOf(() => stand.rig.transport.prepareLoad(state));
  expect(what.test(reason ?? ''), `it said: ${reason}`);
}

/** Why a state cannot be loaded; undefined if it can. */
function reasonOf(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    if (error instanceof VmStateError) return error.message;
    throw error;
  }
}

function kindOf({ transport }: VirtioRig): string {
  return transport.device.save(false).kind;
}

function contentOf(memory: GuestMemory): Buffer {
  return Buffer.concat(memory.regions.map(({ start, sizeBytes }) => memory.slice(start, sizeBytes)));
}

import { test } from 'tap';
import { feature, status } from '../../src/devices/virtio/mmio-state.ts';
import { answered, type ContractDevice, type ContractRequest, expect, turns } from './contract-device.ts';
import { type MockDriver, type VirtioRig, virtioRig } from './mock-driver.ts';
import { saveLoadContract } from './save-load-contract.ts';

/** What every virtio device must do, whatever it is for. */
export function virtioContract(name: string, make: () => ContractDevice): void {
  saveLoadContract(name, make);
  /** A test with a device that is closed at its end. */
  const contract = (statement: string, body: (rig: ContractRig) => Promise<void>): void => {
    test(`${name} ${statement}`, async (t) => {
      const parts = make();
      const rig = virtioRig(parts);
      try {
        await body({ ...parts, rig, driver: rig.driver, answered: (request) => answered(rig, rig.driver, request) });
        t.pass(statement);
      } finally {
        rig.driver.reset();
        await rig.settled();
        rig.transport.close();
        parts.close?.();
      }
    });
  };

  contract('answers a request, is reset, and answers another', async ({ rig, driver, request, answered }) => {
    for (let round = 0; round < 3; round++) {
      driver.start();
      const made = request(driver);
      driver.kick(made.queue);
      await answered(made);
      driver.reset();
      await rig.settled();
      expect(driver.status === 0, 'the status is not 0 after a reset');
      expect(rig.transport.idle, 'requests are in flight after a reset');
    }
    expect(rig.failures.length === 0, `it failed: ${rig.failures.join()}`);
  });

  contract('interrupts its driver for an answer', async ({ rig, driver, request, answered }) => {
    driver.start(feature.version1);
    const before = rig.interrupts;
    const made = request(driver);
    driver.kick(made.queue);
    await answered(made);
    expect(rig.interrupts > before, 'no interrupt');
    expect((driver.acknowledgeInterrupt() & 1) === 1, 'no used buffer in the interrupt status');
  });

  contract('works for a driver that accepts VERSION_1 and nothing else', async ({ driver, request, answered }) => {
    driver.start(feature.version1);
    for (let round = 0; round < 3; round++) {
      const made = request(driver);
      driver.kick(made.queue);
      await answered(made);
    }
  });

  contract('finds what was kicked before it was activated', async ({ driver, request, answered }) => {
    driver.negotiate();
    driver.setUpQueues();
    const made = request(driver);
    driver.kick(made.queue);
    driver.finish();
    await answered(made);
  });

  contract('takes nothing while it is paused, and loses nothing', async ({ rig, driver, request, answered }) => {
    driver.start();
    rig.transport.pause();
    rig.transport.pause();
    await rig.until(() => rig.transport.idle);
    const before = rig.transport.queues.map((queue) => queue.position.nextAvail);
    const made = request(driver);
    driver.write('QueueNotify', made.queue);
    rig.transport.device.kicked(made.queue); // also what the transport would hold back
    await turns(rig);
    const after = rig.transport.queues.map((queue) => queue.position.nextAvail);
    expect(String(after) === String(before), `it took requests: avail ${before} became ${after}`);
    rig.transport.resume();
    await answered(made);
    const next = request(driver);
    driver.kick(next.queue);
    await answered(next);
  });

  contract('runs after it was reset while paused', async ({ rig, driver, request, answered }) => {
    driver.start();
    rig.transport.pause();
    driver.reset();
    await rig.settled();
    rig.transport.resume();
    driver.start();
    const made = request(driver);
    driver.kick(made.queue);
    await answered(made);
  });

  contract('is reset with requests in flight', async ({ rig, driver, request, answered }) => {
    for (let round = 0; round < 3; round++) {
      driver.start();
      const made = request(driver);
      driver.kick(made.queue);
      driver.reset();
      await rig.settled();
      expect(driver.status === 0 && rig.transport.idle, 'it is not as new after a reset');
    }
    driver.start();
    const made = request(driver);
    driver.kick(made.queue);
    await answered(made);
  });

  contract(
    'asks for a reset when the ring is broken, and recovers by it',
    async ({ rig, driver, request, answered }) => {
      for (let round = 1; round <= 2; round++) {
        driver.start();
        const { queue } = request(driver);
        driver.queues[queue]?.offer(0xffff);
        driver.write('QueueNotify', queue);
        await rig.until(() => (driver.status & status.needsReset) !== 0);
        expect((driver.acknowledgeInterrupt() & 2) === 2, 'its driver was not told');
        driver.write('QueueNotify', queue);
        await turns(rig);
        expect(rig.failures.length === round, `${rig.failures.length} failures were told of`);
        driver.reset();
        await rig.settled();
        driver.start();
        const made = request(driver);
        driver.kick(made.queue);
        await answered(made);
      }
    },
  );

  contract('bears kicks of queues that do not exist', async ({ rig, driver, shape, request, answered }) => {
    driver.start();
    for (const index of [shape.queueSizes.length, 0xffff, 0xffff_ffff]) {
      driver.write('QueueNotify', index);
      rig.transport.kicked(index);
    }
    for (const index of shape.queueSizes.keys()) driver.write('QueueNotify', index);
    const made = request(driver);
    driver.kick(made.queue);
    await answered(made);
    expect(rig.failures.length === 0, `it failed: ${rig.failures.join()}`);
  });

  contract('stands a driver that sets up none of its queues', async ({ rig, driver, shape, request, answered }) => {
    driver.negotiate();
    driver.finish();
    for (const index of shape.queueSizes.keys()) driver.write('QueueNotify', index);
    await turns(rig);
    expect((driver.status & status.needsReset) === 0, 'it failed');
    driver.start();
    const made = request(driver);
    driver.kick(made.queue);
    await answered(made);
  });
}

interface ContractRig extends ContractDevice {
  readonly rig: VirtioRig;
  readonly driver: MockDriver;
  readonly answered: (request: ContractRequest) => Promise<void>;
}

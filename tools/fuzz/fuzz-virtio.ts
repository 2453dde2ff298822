import { MmioRegisters } from '../../src/devices/virtio/mmio-registers.ts';
import { cell, status } from '../../src/devices/virtio/mmio-state.ts';
import { VirtioTransport } from '../../src/devices/virtio/virtio-transport.ts';
import { MockDriver } from '../../test/support/mock-driver.ts';
import { randomNumbers } from '../../test/support/random.ts';
import { type FuzzOptions, type Ground, patience, runCases, serveOne } from './fuzz-ground.ts';
import type { FuzzTarget } from './fuzz-target.ts';
import { HostileDriver } from './hostile-driver.ts';

/** Most operations of a case. */
const mostOperations = 24;

/** Runs cases against one target. @throws FuzzFailure at the first that fails */
export function fuzzVirtio(target: FuzzTarget, options: FuzzOptions): void {
  runCases('virtio', target, options, (ground, seed) => runCase(target, ground, seed, options));
}

function runCase(target: FuzzTarget, ground: Ground, seed: number, options: FuzzOptions): void {
  const { ram, state, pops, host, device } = ground;
  const { coverage, log } = options;
  const random = randomNumbers(Math.imul(seed, 0x9e37_79b1));
  log?.(`seed ${seed}`);
  ram.clear();
  let failed = false;
  let calm = false;
  const transport: VirtioTransport = new VirtioTransport({
    memory: ram.memory,
    state,
    shape: target.shape,
    interrupt: { signal: () => coverage.count('interrupt') },
    onFail: (reason) => {
      log?.(`  FAILED: ${reason}`);
      coverage.count(`fault ${reason.replaceAll(/(0x[0-9a-f]+|\d[\d.e+]*)/g, 'N')}`);
      if (failed) throw new Error('the device failed twice without a reset between');
      failed = true;
    },
    device: (to) => {
      host.to = to;
      return device;
    },
  });
  const registers = new MmioRegisters(state, target.shape, {
    synchronize: () => {
      for (let left = patience; !transport.settle(); left--) {
        if (left === 0) throw new Error('a reset does not come to an end');
        pops.begin();
        target.poll(random, calm);
      }
      if (Atomics.load(state.cells, cell.status) === 0) failed = false;
    },
    notify: (index) => {
      pops.begin();
      transport.kicked(index);
    },
  });
  const driver = new HostileDriver({ registers, transport, ram, target, random, coverage, log });
  if (random(8) !== 0) driver.start();
  const watched = random(4) === 0;
  if (watched) ram.watch();
  for (let left = 1 + random(mostOperations); left > 0; left--) {
    pops.begin();
    driver.act();
    const needsReset = (Atomics.load(state.cells, cell.status) & status.needsReset) !== 0;
    if (needsReset !== failed) throw new Error(`NEEDS_RESET is ${needsReset}, and the device failed: ${failed}`);
  }
  ram.checkGuards();
  if (watched) ram.checkMarks();
  ram.memory.meddle = undefined;
  calm = true;
  transport.resume();
  serveOne(target, new MockDriver(registers, ram.memory), pops, random);
  registers.write(0x70, 4, 0);
  if (failed) throw new Error('the device failed a good driver');
  ram.checkGuards();
}

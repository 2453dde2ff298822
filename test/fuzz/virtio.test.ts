import { test } from 'tap';
import type { VirtioDevice } from '../../src/devices/virtio/virtio-device.ts';
import { gpa } from '../../src/memory/address.ts';
import { Coverage } from '../../tools/fuzz/coverage.ts';
import { echoTarget } from '../../tools/fuzz/echo-target.ts';
import { notCovered } from '../../tools/fuzz/expected-coverage.ts';
import { FuzzFailure } from '../../tools/fuzz/fuzz-failure.ts';
import type { FuzzTarget } from '../../tools/fuzz/fuzz-target.ts';
import { fuzzVirtio } from '../../tools/fuzz/fuzz-virtio.ts';
import type { HostileMemory } from '../../tools/fuzz/hostile-memory.ts';
import { fuzzTargets } from '../../tools/fuzz/targets.ts';

// `npm run fuzz -- virtio` does the same, as long as one likes.
const runs = 15_000;

for (const [name, make] of Object.entries(fuzzTargets)) {
  test(`no hostile driver brings the ${name} device down, or out of its RAM`, { timeout: 600_000 }, async (t) => {
    const target = make();
    const coverage = new Coverage();
    try {
      fuzzVirtio(target, { seed: 1, runs, coverage });
    } finally {
      target.close();
    }
    t.strictSame(notCovered(target, coverage), [], 'everything was tried');
  });
}

/** The failure that cases find in a device with something wrong; undefined if they find none. */
function failureOf(change: (device: VirtioDevice, ram: HostileMemory) => void): FuzzFailure | undefined {
  const echo = echoTarget();
  const target: FuzzTarget = {
    ...echo,
    device: (host, config, ram) => {
      const device = echo.device(host, config, ram);
      change(device, ram);
      return device;
    },
  };
  try {
    fuzzVirtio(target, { seed: 1, runs: 300, coverage: new Coverage() });
    return undefined;
  } catch (error) {
    if (error instanceof FuzzFailure) return error;
    throw error;
  } finally {
    echo.close();
  }
}

for (const [statement, message, change] of [
  [
    'throws',
    /queue 0 is broken/,
    (device) => {
      device.activate = () => {
        throw new Error('queue 0 is broken');
      };
    },
  ],
  [
    'writes without a mark',
    /did not mark it/,
    (device, ram) => {
      device.pause = () => ram.memory.slice(gpa(0x500), 1).fill(1);
    },
  ],
  [
    'names memory outside RAM',
    /outside RAM/,
    (device, ram) => {
      device.pause = () => ram.callKernel(ram.memory.addressForRead(gpa(0), 1) - 1, 2, 'read');
    },
  ],
  [
    'does not work again after a reset',
    /gets no answer/,
    (device) => {
      let resets = 0;
      const { kicked, reset } = device;
      device.reset = () => {
        resets++;
        reset.call(device);
      };
      device.kicked = (index) => {
        if (resets === 0) kicked.call(device, index);
      };
    },
  ],
  [
    'never gives requests back',
    /does not come to an end/,
    (device) => {
      Object.defineProperty(device, 'inFlight', { value: 1 });
    },
  ],
  [
    'takes requests without end',
    /are taken at a kick/,
    (device) => {
      const { kicked } = device;
      device.kicked = (index) => {
        for (let time = 0; time < 1000; time++) kicked.call(device, index);
      };
    },
  ],
] as const satisfies readonly (readonly [
  statement: string,
  message: RegExp,
  change: (device: VirtioDevice, ram: HostileMemory) => void,
])[]) {
  test(`finds a device that ${statement}, and says how to see it again`, async (t) => {
    const first = failureOf(change);
    t.match(first?.message, message);
    t.match(
      first?.message,
      /^echo, seed \d+: .*\n {2}again: npm run fuzz -- virtio --device echo --seed \d+ --runs 1$/,
    );
    t.equal(failureOf(change)?.message, first?.message, 'the same seed fails the same way');
  });
}

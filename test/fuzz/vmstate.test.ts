import { test } from 'tap';
import type { VirtioDevice } from '../../src/devices/virtio/virtio-device.ts';
import { Coverage } from '../../tools/fuzz/coverage.ts';
import { echoTarget } from '../../tools/fuzz/echo-target.ts';
import { FuzzFailure } from '../../tools/fuzz/fuzz-failure.ts';
import type { FuzzTarget } from '../../tools/fuzz/fuzz-target.ts';
import { fuzzSerialState, fuzzVmState, stateOutcomes } from '../../tools/fuzz/fuzz-vmstate.ts';
import { fuzzTargets } from '../../tools/fuzz/targets.ts';

// `npm run fuzz -- vmstate` does the same, as long as one likes.
const runs = 2_000;

for (const [name, make] of Object.entries(fuzzTargets)) {
  test(`no state brings the ${name} device down, or out of its RAM`, { timeout: 600_000 }, async (t) => {
    const target = make();
    const coverage = new Coverage();
    try {
      fuzzVmState(target, { seed: 1, runs, coverage });
    } finally {
      target.close();
    }
    const missing = stateOutcomes.filter((outcome) => coverage.of(`state ${outcome}`) === 0);
    t.strictSame(missing, [], 'everything was tried');
  });
}

test('no state brings the serial port down', { timeout: 600_000 }, async (t) => {
  const coverage = new Coverage();
  fuzzSerialState({ seed: 1, runs: 2_000, coverage });
  for (const outcome of ['unreadable', 'refused by its check', 'accepted']) {
    t.ok(coverage.of(`state ${outcome}`) > 0, outcome);
  }
});

for (const [statement, message, change] of [
  [
    'throws what is no refusal',
    /it is broken/,
    (device) => {
      device.prepareLoad = () => {
        throw new Error('it is broken');
      };
    },
  ],
  [
    'changes something before a state is taken',
    /a refusal changed the device/,
    (device) => {
      const { save, prepareLoad } = device;
      let refusals = 0;
      device.prepareLoad = (state, setting) => {
        try {
          return prepareLoad.call(device, state, setting);
        } catch (error) {
          refusals++;
          throw error;
        }
      };
      device.save = (active) => ({ ...save.call(device, active), ...(refusals > 0 ? { refusals } : {}) });
    },
  ],
  [
    'does not come back as it was saved',
    /a state is another one once it is loaded/,
    (device) => {
      let saves = 0;
      device.save = () => ({ kind: 'block', version: 1, kept: [saves++] }) as never;
      device.prepareLoad = () => () => {};
    },
  ],
] as const satisfies readonly (readonly [
  statement: string,
  message: RegExp,
  change: (device: VirtioDevice) => void,
])[]) {
  test(`finds a device that ${statement}, and says how to see it again`, async (t) => {
    const echo = echoTarget();
    t.teardown(() => echo.close());
    const target: FuzzTarget = {
      ...echo,
      device: (host, config, ram) => {
        const device = echo.device(host, config, ram);
        change(device);
        return device;
      },
    };
    try {
      fuzzVmState(target, { seed: 1, runs: 300, coverage: new Coverage() });
      t.fail('it was not found');
    } catch (error) {
      if (!(error instanceof FuzzFailure)) throw error;
      t.match(error.message, message);
      t.match(error.message, /again: npm run fuzz -- vmstate --device echo --seed \d+ --runs 1$/);
    }
  });
}

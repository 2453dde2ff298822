import { test } from 'tap';
import { partsOf } from '../../../../src/colo/command/standby-face.ts';

for (const rng of [{ kind: 'none' }, { kind: 'host' }, { kind: 'seed', seed: 0 }] as const) {
  test(`a snapshot of a machine that has taken over has its source of entropy: ${rng.kind}`, async (t) => {
    const shape = { cpus: 1, memoryBytes: 2 ** 24, cpuMask: [], devices: { disks: [], nets: [], rng } };
    t.strictSame(partsOf({ shape }, { disk: [], net: [] }), { disk: [], net: [], rng });
  });
}

import { test } from 'tap';
import * as v from 'valibot';
import { shapeOfMachine } from '../../../../src/colo/machine/machine-shapes.ts';
import { machineShapeSchema } from '../../../../src/colo/protocol/machine-shape.ts';
import { MiB } from '../../../../src/memory/address.ts';

const vendor = { ebx: 0x756e_6547, edx: 0x4965_6e69, ecx: 0x6c65_746e };
const processor = {
  cpuid: [
    { function: 0, index: 0, eax: 7, ...vendor },
    { function: 7, index: 0, eax: 0, ebx: 1 << 5, ecx: 0, edx: 1 << 20 },
  ],
  tscKhz: 2_400_000,
  xsaveBytes: 4096,
};

test('a machine tells what its guest was told, and travels', async (t) => {
  const shape = shapeOfMachine({
    shape: {
      cpus: 2,
      memoryBytes: 64 * MiB,
      cpuMask: [],
      onPanic: 'run',
      devices: {
        disks: [{ path: 'root.img', readonly: false, direct: true, werror: 'enospc', sector: 4096 }],
        nets: [
          { tap: 'tap0', mtu: 9000, offload: false },
          { tap: 'tap1', offload: true },
        ],
        rng: { kind: 'seed', seed: 3 },
      },
    },
    facts: {
      memoryBytes: 64 * MiB,
      cpuThreads: [],
      disks: [{ id: 'disk0', path: 'root.img', sizeBytes: MiB, readOnly: false, direct: true }],
      cards: [
        { tap: 'tap0', mac: '02:00:00:00:00:01', gone: false },
        { tap: 'tap1', mac: '02:00:00:00:00:02', gone: false },
      ],
    },
    processor,
  });
  t.strictSame(shape, {
    cpus: 2,
    memoryBytes: 64 * MiB,
    cpuVendor: 'GenuineIntel',
    xsaveBytes: 4096,
    cpuFeatures: ['avx2', 'CPUID 0x7.0 edx bit 20'],
    tscKhz: 2_400_000,
    tscScaling: false,
    disks: [{ id: 'disk0', path: 'root.img', sizeBytes: MiB, readOnly: false, sectorBytes: 4096 }],
    cards: [
      { tap: 'tap0', mac: '02:00:00:00:00:01', mtu: 9000, offload: false },
      { tap: 'tap1', mac: '02:00:00:00:00:02', offload: true },
    ],
    rng: 'seed',
    onPanic: 'run',
  });
  t.strictSame(v.parse(machineShapeSchema, JSON.parse(JSON.stringify(shape))), shape);
});

test('a machine without devices has a shape', async (t) => {
  const { disks, cards, rng } = shapeOfMachine({
    shape: { cpus: 1, memoryBytes: MiB, cpuMask: [] },
    facts: { memoryBytes: MiB, cpuThreads: [], disks: [], cards: [] },
    processor,
  });
  t.strictSame({ disks, cards, rng }, { disks: [], cards: [], rng: 'none' });
});

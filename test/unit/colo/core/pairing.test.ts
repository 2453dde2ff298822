import { test } from 'tap';
import { differences } from '../../../../src/colo/core/pairing.ts';
import { shape } from '../protocol/messages.ts';

test('equal machines are a pair', async (t) => {
  t.same(differences(shape, shape), []);
  t.same(differences(shape, { ...shape, cpuFeatures: [...shape.cpuFeatures, 'avx512f'], cpus: 8 }), []);
});

const [disk] = shape.disks;
for (const [what, standby, says] of [
  ['lacks CPU features', { cpuFeatures: ['sse4_2'] }, /lacks avx2\. Start the guest with --cpu-mask avx2/],
  [
    'has a processor of another maker',
    { cpuVendor: 'AuthenticAMD' },
    /is of AuthenticAMD, the guest's of GenuineIntel/,
  ],
  ['has more registers', { xsaveBytes: 11_008 }, /registers take 11008 bytes, here 4096/],
  ['cannot scale its TSC', { tscKhz: 1, tscScaling: false }, /cannot scale/],
  ['has too little memory', { memoryBytes: 1 << 20 }, /1 MiB of memory to give, the guest has 512 MiB/],
  ['has too few processors', { cpus: 1 }, /1 vCPUs, the guest has 2/],
  ['has no such disk', { disks: [] }, /no disk root\. Start it with --disk id=root/],
  ['has a smaller disk', { disks: [{ ...disk, sizeBytes: 512 }] }, /truncate -s 8589934592 web\.img/],
  ['has a larger disk', { disks: [{ ...disk, sizeBytes: 2 ** 40 }] }, /truncate -s 8589934592 web\.img/],
  ['has a read-only disk', { disks: [{ ...disk, readOnly: true }] }, /read-only/],
  ['has no TAP', { cards: [] }, /0 network cards, the guest 1/],
] as const) {
  test(`a standby that ${what} is told so, with the remedy`, async (t) => {
    const found = differences(shape, { ...shape, ...(standby as object) });
    t.equal(found.length, 1);
    t.match(found[0], says);
  });
}

test('what no flag can hide is no remedy', async (t) => {
  const unnamed = 'CPUID 0x7.0 edx bit 20';
  const [says] = differences({ ...shape, cpuFeatures: [unnamed] }, { ...shape, cpuFeatures: [] });
  t.equal(says, `its processor lacks ${unnamed}. Use another standby`);
});

test('a frequency that was measured twice is the same', async (t) => {
  t.same(differences(shape, { ...shape, tscKhz: shape.tscKhz + 300, tscScaling: false }), []);
  t.equal(differences(shape, { ...shape, tscKhz: shape.tscKhz + 3000, tscScaling: false }).length, 1);
});

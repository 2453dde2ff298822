import { test } from 'tap';
import { differences, whyNoPair } from '../../../../src/colo/core/pairing.ts';
import { highestTerm, term } from '../../../../src/colo/protocol/numbers.ts';
import { shape } from '../protocol/messages.ts';
import { hello, settings } from './scripted.ts';

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
  [
    'has a smaller device for a disk',
    { disks: [{ ...disk, path: '/dev/vg/web', sizeBytes: 512, isDevice: true }] },
    /Give it a device of 8589934592 bytes \(a logical volume: lvresize -L 8589934592b \/dev\/vg\/web\), or a file$/,
  ],
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

test('a primary of an earlier term is told which of the two is older, and what to do about either', async (t) => {
  const standby = { pair: 'web', shape, term: term(5), settings };
  const why = whyNoPair(hello, term(1), standby);
  t.match(why, /is in term 5 already, the primary in term 1: the newer disks are the standby's\. Run the guest there/);
  t.match(why, /colo-vmm standby --name web --listen/);
  t.match(why, /certainly the right one: set "term" to 5 in term\.json in the primary's --state, and protect it again/);
  t.equal(whyNoPair(hello, term(5), standby), undefined);
  t.equal(whyNoPair(hello, term(6), standby), undefined, 'as it is in once that was done');
});

test('a primary of a term that no pair reaches is refused: the standby must be able to count on from it', async (t) => {
  const standby = { pair: 'web', shape, term: term(5), settings };
  t.equal(whyNoPair(hello, highestTerm, standby), undefined);
  for (const beyond of [highestTerm + 1, Number.MAX_SAFE_INTEGER]) {
    const why = `the primary says that it is in term ${beyond}, and no pair gets beyond ${2 ** 52}`;
    t.match(whyNoPair(hello, term(beyond), standby), why);
  }
});

import { test } from 'tap';
import { kvmCpuidEntry2 } from '../../../../src/host/kvm/abi.ts';
import type { CpuidEntry } from '../../../../src/host/kvm/kvm-device.ts';
import { cpuFeatures } from '../../../../src/vmm/config/cpu-features.ts';
import { type CpuidOptions, guestCpuid } from '../../../../src/vmm/vcpu/cpuid.ts';

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';
const ones = 0xffff_ffff;

function entry(leaf: number, subleaf: number, values: Partial<Record<Register, number>>): CpuidEntry {
  const view = kvmCpuidEntry2.allocate();
  view.function = leaf;
  view.index = subleaf;
  Object.assign(view, values);
  return view;
}

const all = { eax: ones, ebx: ones, ecx: ones, edx: ones };

/** A processor that has everything. */
function everything(): CpuidEntry[] {
  return [
    entry(0, 0, { eax: 0x1f }),
    entry(1, 0, { ...all, ebx: 0x5a05_0800, ecx: 0x7fff_ffff & ~(1 << 24), edx: ones & ~(1 << 28) }),
    entry(7, 0, all),
    entry(7, 1, all),
    entry(0xa, 0, all),
    entry(0xb, 0, all),
    entry(0xb, 1, all),
    entry(0xd, 0, all),
    entry(0xd, 1, all),
    entry(0x1f, 0, all),
    entry(0x4000_0001, 0, { eax: 0x0100_7efb }),
    entry(0x8000_0001, 0, { ...all, ecx: ones & ~2 }),
    entry(0x8000_0007, 0, all),
    entry(0x8000_0008, 0, { ebx: ones, ecx: 0x703f }),
    entry(0x8000_001e, 0, { eax: 77, ebx: 77, ecx: 77 }),
  ];
}

const plain: CpuidOptions = { cpus: 1, tscDeadline: false, keepsTsc: true, mask: [] };

function leaf(entries: readonly CpuidEntry[], number: number, subleaf = 0): CpuidEntry {
  const found = entries.filter((each) => each.function === number && each.index === subleaf);
  if (found.length !== 1) throw new Error(`${found.length} rows for leaf 0x${number.toString(16)}.${subleaf}`);
  return found[0] as CpuidEntry;
}

function has(entries: readonly CpuidEntry[], name: string): boolean {
  const feature = cpuFeatures[name];
  if (feature === undefined) throw new Error(name);
  return ((leaf(entries, feature.leaf, feature.subleaf)[feature.register] >>> feature.bit) & 1) === 1;
}

for (let cpus = 1; cpus <= 8; cpus++) {
  test(`makes each of ${cpus} vCPUs a core of one socket, its number its APIC id`, async (t) => {
    for (let index = 0; index < cpus; index++) {
      const entries = guestCpuid(everything(), index, { ...plain, cpus });
      const { ebx, edx } = leaf(entries, 1);
      t.equal(ebx >>> 24, index, 'initial APIC id');
      t.equal((ebx >>> 16) & 0xff, cpus, 'logical processors');
      t.equal(ebx & 0xffff, 0x0800, 'CLFLUSH size stays');
      t.equal((edx >>> 28) & 1, cpus > 1 ? 1 : 0, 'HTT');
      for (const number of [0xb, 0x1f]) {
        const [threads, cores, end] = [0, 1, 2].map((subleaf) => leaf(entries, number, subleaf));
        t.match(threads, { eax: 0, ebx: 1, ecx: 0x100, edx: index });
        t.match(cores, { ebx: cpus, ecx: 0x201, edx: index });
        t.match(end, { eax: 0, ebx: 0, ecx: 2, edx: index });
        // APIC ids shifted by this are the socket's number: it must be the same for all.
        const shift = cores?.eax ?? 0;
        t.equal(index >>> shift, 0);
        t.ok(shift === 0 || cpus > 1 << (shift - 1), 'no wider than needed');
      }
      t.equal(leaf(entries, 0x8000_0008).ecx & 0xff, cpus - 1, 'AMD: cores less one');
      t.match(leaf(entries, 0x8000_001e), { eax: index, ebx: index, ecx: 0 });
    }
  });
}

test('tells the guest that it runs under a hypervisor', async (t) => {
  t.equal(leaf(guestCpuid(everything(), 0, plain), 1).ecx >>> 31, 1);
});

test('offers the TSC deadline timer exactly when KVM can', async (t) => {
  t.equal(has(guestCpuid(everything(), 0, { ...plain, tscDeadline: true }), 'tsc_deadline_timer'), true);
  t.equal(has(guestCpuid(everything(), 0, { ...plain, tscDeadline: false }), 'tsc_deadline_timer'), false);
});

test('hides what would add state, or let KVM write guest memory by itself', async (t) => {
  const entries = guestCpuid(everything(), 0, plain);
  for (const name of ['vmx', 'svm', 'monitor', 'waitpkg']) t.equal(has(entries, name), false, name);
  t.match(leaf(entries, 0xa), { eax: 0, ebx: 0, ecx: 0, edx: 0 }, 'no performance counters');
  const kvm = leaf(entries, 0x4000_0001).eax;
  for (const bit of [4, 5, 10, 14]) t.equal((kvm >>> bit) & 1, 0, `KVM feature ${bit}`);
  for (const bit of [0, 3, 24]) t.equal((kvm >>> bit) & 1, 1, `kvmclock, KVM feature ${bit}`);
});

for (const name of Object.keys(cpuFeatures)) {
  test(`hides ${name} when told to, and nothing else`, async (t) => {
    const without = guestCpuid(everything(), 0, { ...plain, tscDeadline: true, mask: [name] });
    const usual = guestCpuid(everything(), 0, { ...plain, tscDeadline: true });
    t.equal(has(without, name), false);
    if (name === 'xsave') return; // takes a leaf with it, see below
    for (const other of Object.keys(cpuFeatures)) {
      if (other !== name && has(usual, other) !== has(without, other)) t.fail(`${other} changed`);
    }
  });
}

test('takes the XSAVE leaf away with xsave', async (t) => {
  const entries = guestCpuid(everything(), 0, { ...plain, mask: ['xsave'] });
  for (const subleaf of [0, 1]) t.match(leaf(entries, 0xd, subleaf), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
});

test('leaves topology leaves out that the processor does not have', async (t) => {
  const supported = everything().filter(({ function: number }) => number !== 0x1f);
  (supported[0] as CpuidEntry).eax = 0xd;
  const entries = guestCpuid(supported, 0, plain);
  t.equal(entries.filter((each) => each.function === 0xb).length, 3);
  t.equal(entries.filter((each) => each.function === 0x1f).length, 0);
});

test('changes nothing of the table that it is given', async (t) => {
  const supported = everything();
  const before = supported.map((each) => Buffer.from(each.$bytes).toString('hex'));
  guestCpuid(supported, 3, { cpus: 8, tscDeadline: true, keepsTsc: false, mask: Object.keys(cpuFeatures) });
  t.strictSame(
    supported.map((each) => Buffer.from(each.$bytes).toString('hex')),
    before,
  );
});

test('makes do with a table that has hardly a leaf', async (t) => {
  t.strictSame(guestCpuid([], 0, plain).length, 0);
});

test('tells of an invariant TSC only where that is kept', async (t) => {
  t.equal(has(guestCpuid(everything(), 0, plain), 'constant_tsc'), true);
  t.equal(has(guestCpuid(everything(), 0, { ...plain, keepsTsc: false }), 'constant_tsc'), false);
});

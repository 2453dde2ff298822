import { test } from 'tap';
import { type CpuFeature, cpuFeatures } from '../../../../src/vmm/config/cpu-features.ts';
import {
  type CpuidAnswer,
  featureNames,
  type GuestProcessor,
  type HostProcessor,
  processorMismatch,
  showsTscDeadline,
} from '../../../../src/vmm/vcpu/processor-match.ts';

const intel = { ebx: 0x756e_6547, edx: 0x4965_6e69, ecx: 0x6c65_746e };
const amd = { ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 };

/** CPUID of a processor with these features, and bits beside. */
function cpuid(
  vendor: Partial<CpuidAnswer>,
  names: readonly string[],
  more: readonly CpuFeature[] = [],
): readonly CpuidAnswer[] {
  const none = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const rows: CpuidAnswer[] = [{ function: 0, index: 0, ...none, ...vendor }];
  for (const { leaf, subleaf, register, bit } of [...names.map((name) => cpuFeatures[name] as CpuFeature), ...more]) {
    const at = rows.findIndex((row) => row.function === leaf && row.index === subleaf);
    const row = at < 0 ? { function: leaf, index: subleaf, ...none } : (rows[at] as CpuidAnswer);
    rows[at < 0 ? rows.length : at] = { ...row, [register]: (row[register] | (1 << bit)) >>> 0 };
  }
  return rows;
}

const usual = ['sse3', 'avx2', 'constant_tsc', 'tsc_deadline_timer', 'avx512vl'];

function guest(change: Partial<GuestProcessor> = {}): GuestProcessor {
  return { cpuid: cpuid(intel, usual), tscKhz: 2_600_000, ...change };
}

function host(change: Partial<HostProcessor> = {}): HostProcessor {
  const names = usual.filter((name) => name !== 'tsc_deadline_timer');
  return { cpuid: cpuid(intel, names), tscKhz: 2_600_000, scalesTsc: false, tscDeadline: true, ...change };
}

test('a guest runs where all that it was told is there, and more', async (t) => {
  t.equal(processorMismatch(guest(), host()), undefined);
  t.equal(processorMismatch(guest({ cpuid: cpuid(intel, ['sse3']) }), host()), undefined);
});

test('refuses the processor of another vendor, and names both', async (t) => {
  t.match(
    processorMismatch(guest(), host({ cpuid: cpuid(amd, usual) })),
    /is that of a processor of GenuineIntel, and the one here is of AuthenticAMD/,
  );
});

test('names the features that the host has not, and the flag that hides them', async (t) => {
  const more = cpuid(intel, [...usual, 'rtm', 'avx512f', 'xsaves']);
  t.equal(
    processorMismatch(guest({ cpuid: more }), host()),
    'has features that the processor here or its KVM has not: rtm, avx512f, xsaves; ' +
      'run it on a host that has them, or start it with --cpu-mask rtm,avx512f,xsaves',
  );
});

for (const name of Object.keys(cpuFeatures)) {
  // Follow what the guest does, or are given whatever the host is.
  if (['monitor', 'osxsave'].includes(name)) continue;
  test(`misses ${name}`, async (t) => {
    const names = [...usual, name];
    const reason = processorMismatch(
      guest({ cpuid: cpuid(intel, names) }),
      host({
        cpuid: cpuid(
          intel,
          usual.filter((other) => other !== name),
        ),
        tscDeadline: name !== 'tsc_deadline_timer',
      }),
    );
    t.match(reason, new RegExp(`--cpu-mask ${name}$`));
  });
}

test('tells of a feature without a name, which no flag hides', async (t) => {
  const nameless = { leaf: 0x4000_0001, subleaf: 0, register: 'eax', bit: 3 } as const;
  t.equal(
    processorMismatch(guest({ cpuid: cpuid(intel, usual, [nameless]) }), host()),
    'has features that the processor here or its KVM has not: CPUID 0x40000001.0 eax bit 3; run it on a host that has them',
  );
});

test('does not look at what follows the guest, or what the VMM shows whatever the host is', async (t) => {
  const ours: CpuFeature[] = [
    { leaf: 1, subleaf: 0, register: 'ecx', bit: 3 },
    { leaf: 1, subleaf: 0, register: 'ecx', bit: 27 },
    { leaf: 1, subleaf: 0, register: 'ecx', bit: 31 },
    { leaf: 1, subleaf: 0, register: 'edx', bit: 9 },
    { leaf: 1, subleaf: 0, register: 'edx', bit: 28 },
    { leaf: 7, subleaf: 0, register: 'ecx', bit: 4 },
    { leaf: 0x8000_0001, subleaf: 0, register: 'ecx', bit: 1 },
  ];
  t.equal(processorMismatch(guest({ cpuid: cpuid(intel, usual, ours) }), host()), undefined);
});

test('a TSC that the guest was told is invariant runs as fast as it did, or the guest does not', async (t) => {
  const other = host({ tscKhz: 3_000_000 });
  t.match(
    processorMismatch(guest(), other),
    /always runs at 2600000 kHz, and the one here runs at 3000000 kHz .*--cpu-mask constant_tsc/,
  );
  t.equal(processorMismatch(guest(), { ...other, scalesTsc: true }), undefined, 'the host can scale');
  const untold = guest({
    cpuid: cpuid(
      intel,
      usual.filter((name) => name !== 'constant_tsc'),
    ),
  });
  t.equal(processorMismatch(untold, other), undefined, 'the guest was not told');
});

test('two measurements of one oscillator are the same frequency', async (t) => {
  t.equal(processorMismatch(guest({ tscKhz: 2_600_600 }), host()), undefined);
  t.not(processorMismatch(guest({ tscKhz: 2_600_700 }), host()), undefined);
});

test('tells every feature that a guest was shown, by the name that hides it or by its place', async (t) => {
  const row = (leaf: number, registers: object) => ({
    function: leaf,
    index: 0,
    eax: 0,
    ebx: 0,
    ecx: 0,
    edx: 0,
    ...registers,
  });
  const cpuid = [row(1, { ecx: (1 << 0) | (1 << 24) | (1 << 27), edx: 1 }), row(7, { ebx: 1 << 5 })];
  t.strictSame(
    featureNames(cpuid, false),
    ['sse3', 'CPUID 0x1.0 edx bit 0', 'avx2'],
    'what follows registers is no feature',
  );
  t.strictSame(featureNames(cpuid, showsTscDeadline(cpuid)).at(-1), 'tsc_deadline_timer');
});

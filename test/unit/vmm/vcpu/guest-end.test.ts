import { test } from 'tap';
import { crashReport, describeEnd, exitCodeOf, type GuestEnd } from '../../../../src/vmm/vcpu/guest-end.ts';

const registers = { rax: 0x1234n, rbx: 0xffff_ffff_ffff_ffffn, rcx: 0n, rdx: 1n, rip: 0x10_0000n };

const ends: readonly (readonly [end: GuestEnd, code: number, line: RegExp])[] = [
  [{ kind: 'power-off' }, 0, /powered off/],
  [{ kind: 'reset' }, 3, /asked for a reboot/],
  [{ kind: 'reset', by: 'the monitor' }, 3, /^reset by the monitor$/],
  [{ kind: 'panic' }, 4, /^the guest's kernel panicked$/],
  [{ kind: 'triple-fault', vcpu: 2, registers }, 2, /^vcpu 2 triple-faulted/],
  [
    { kind: 'internal-error', vcpu: 1, suberror: 1, data: [0xffn], registers },
    2,
    /vcpu 1, suberror 1 \(an instruction that KVM could not emulate\)$/,
  ],
  [{ kind: 'internal-error', vcpu: 1, suberror: 77, data: [], registers }, 2, /suberror 77$/],
  [{ kind: 'entry-failure', vcpu: 0, reason: 0x8000_0021n, registers }, 2, /refused to enter vcpu 0.*0x80000021/],
  [{ kind: 'unknown-exit', vcpu: 3, reason: 42, registers }, 2, /vcpu 3 .*exit 42/],
  [{ kind: 'stopped', by: 'SIGTERM', exitCode: 143 }, 143, /^stopped by SIGTERM$/],
  [{ kind: 'vmm-failure', what: 'vcpu 0: out of order' }, 1, /out of order/],
];

for (const [end, code, line] of ends) {
  test(`${end.kind}${'suberror' in end ? ` ${end.suberror}` : ''} ends with exit code ${code} and one line`, async (t) => {
    t.equal(exitCodeOf(end), code);
    t.match(describeEnd(end), line);
    t.notMatch(describeEnd(end), /\n/);
  });
}

test('a crash is reported with all registers, sixteen digits each', async (t) => {
  const report = crashReport({ kind: 'triple-fault', vcpu: 0, registers }, '');
  t.strictSame(report, [
    'registers:',
    '     rax 0000000000001234     rbx ffffffffffffffff     rcx 0000000000000000     rdx 0000000000000001',
    '     rip 0000000000100000',
  ]);
});

test('registers of a vCPU that KVM has reset are not told as those of the crash', async (t) => {
  const reset = { rax: 0n, rip: 0xfff0n, cs: 0xf000n, cr0: 0x6000_0010n };
  const said = ['registers: not known: KVM has reset the vCPU, as it does at a triple fault on AMD processors'];
  t.strictSame(crashReport({ kind: 'triple-fault', vcpu: 0, registers: reset }, ''), said);
  t.strictSame(crashReport({ kind: 'triple-fault', vcpu: 0, registers: { ...reset, cr0: 0x10n } }, ''), said);
  for (const other of [{ rip: 0xfff1n }, { cs: 0x10n }, { cr0: 0x6000_0011n }]) {
    const [head] = crashReport({ kind: 'triple-fault', vcpu: 0, registers: { ...reset, ...other } }, '');
    t.equal(head, 'registers:');
  }
});

test('a crash is reported with the last twenty lines of the console', async (t) => {
  const tail = Array.from({ length: 50 }, (_, index) => `line ${index}`).join('\n');
  const report = crashReport({ kind: 'triple-fault', vcpu: 0, registers: {} }, `${tail}\n\n`);
  const start = report.indexOf('last bytes of the console:');
  t.strictSame(
    report.slice(start + 1),
    Array.from({ length: 20 }, (_, index) => `line ${30 + index}`),
  );
});

test('an internal error is reported with its data', async (t) => {
  const report = crashReport({ kind: 'internal-error', vcpu: 0, suberror: 1, data: [1n, 0xabcn], registers: {} }, '');
  t.ok(report.includes('internal error data: 0x1 0xabc'));
});

test('an end that was asked for needs no report', async (t) => {
  for (const [end] of ends.filter(([each]) => !('registers' in each))) t.strictSame(crashReport(end, 'text'), []);
});

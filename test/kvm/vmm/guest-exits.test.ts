import { test } from 'tap';
import { Assembler, port } from '../../support/assembler.ts';
import {
  crowd,
  crowdBytesPerCpu,
  jumpingIntoNothing,
  printing,
  printingByString,
  tripleFaulting,
  writingPort,
} from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { kernelFile, runVmm, temporaryFolder } from '../../support/vmm-process.ts';

const skip = noKvm();

type Folder = Parameters<typeof temporaryFolder>[0];

function run(t: Folder, code: Uint8Array, ...args: string[]) {
  return runVmm(['run', '--kernel', kernelFile(temporaryFolder(t), code), '--memory', '16M', ...args]);
}

test('prints what the guest writes to its serial port, and ends when it powers off', { skip }, async (t) => {
  const ending = await run(t, printing('hello\r\n'));
  t.equal(ending.stdout, 'hello\r\n');
  t.equal(ending.code, 0);
  t.match(ending.stderr, /^colo-vmm: the guest powered off\n/);
});

test('closes with a line on the life of the machine', { skip }, async (t) => {
  const { stderr } = await run(t, printing('12345'));
  const [, summary] = stderr.split('\n');
  t.match(
    summary,
    /^colo-vmm: \d+\.\d s; exits: 0 port in, 6 port out, 0 MMIO read, 0 MMIO write, \d+ kick, 0 other; \d+ MiB resident/,
  );
});

test('serves string output byte by byte', { skip }, async (t) => {
  const text = Array.from({ length: 500 }, (_, index) => `${index} `).join('');
  const ending = await run(t, printingByString(text));
  t.equal(ending.stdout, text);
  t.equal(ending.code, 0);
});

test('serves string input byte by byte', { skip }, async (t) => {
  // REP INSB from the serial port's scratch register, then the bytes are printed.
  const code = new Assembler()
    .outByte(port.serial + 7, 'x'.charCodeAt(0))
    .set('edi', 0x20_0000)
    .set('ecx', 40)
    .setDx(port.serial + 7)
    .bytes(0xfc, 0xf3, 0x6c) // CLD; REP INSB
    .set('esi', 0x20_0000)
    .set('ecx', 40)
    .setDx(port.serial)
    .bytes(0xf3, 0x6e) // REP OUTSB
    .powerOff();
  const ending = await run(t, code.assemble());
  t.equal(ending.stdout, 'x'.repeat(40));
});

/** Compares EAX with `expected` and prints `name` and the outcome. */
function expectEax(guest: Assembler, name: string, expected: number): void {
  guest
    .bytes(0x3d)
    .word(expected) // CMP EAX, imm32
    .jumpIfZero(`${name} right`)
    .print(`${name} wrong\n`)
    .jump(`${name} done`)
    .label(`${name} right`)
    .print(`${name} right\n`)
    .label(`${name} done`);
}

test('reads all ones, as wide as the access, where no device is', { skip }, async (t) => {
  const nowhere = 0xd000_0000;
  const guest = new Assembler().set('ebx', nowhere);
  guest.set('eax', 0).bytes(0x8a, 0x03); // MOV AL, [EBX]
  expectEax(guest, 'mmio byte', 0xff);
  guest.set('eax', 0).bytes(0x66, 0x8b, 0x03); // MOV AX, [EBX]
  expectEax(guest, 'mmio word', 0xffff);
  guest.set('eax', 0).bytes(0x8b, 0x03); // MOV EAX, [EBX]
  expectEax(guest, 'mmio long', 0xffff_ffff);
  guest
    .set('ebx', nowhere + 0xffd)
    .set('eax', 0)
    .bytes(0x8b, 0x03); // three bytes here, one on the next page
  expectEax(guest, 'mmio across pages', 0xffff_ffff);
  guest.set('eax', 0).setDx(0x1234).bytes(0xec); // IN AL, DX
  expectEax(guest, 'port byte', 0xff);
  guest.set('eax', 0).setDx(0x1234).bytes(0x66, 0xed); // IN AX, DX
  expectEax(guest, 'port word', 0xffff);
  guest.set('eax', 0).setDx(0x1234).bytes(0xed); // IN EAX, DX
  expectEax(guest, 'port long', 0xffff_ffff);

  const ending = await run(t, guest.powerOff().assemble());

  t.strictSame(ending.stdout.trim().split('\n'), [
    'mmio byte right',
    'mmio word right',
    'mmio long right',
    'mmio across pages right',
    'port byte right',
    'port word right',
    'port long right',
  ]);
});

test('takes writes where no device is for nothing', { skip }, async (t) => {
  const guest = new Assembler()
    .set('ebx', 0xd000_0000)
    .set('eax', 0x1234_5678)
    .bytes(0x88, 0x03) // MOV [EBX], AL
    .bytes(0x66, 0x89, 0x03) // MOV [EBX], AX
    .bytes(0x89, 0x03) // MOV [EBX], EAX
    .set('ebx', 0xd000_0ffd)
    .bytes(0x89, 0x03)
    .setDx(0x1234)
    .bytes(0xee, 0x66, 0xef, 0xef) // OUT DX, AL; AX; EAX
    .print('alive')
    .powerOff();
  const ending = await run(t, guest.assemble());
  t.equal(ending.stdout, 'alive');
  t.equal(ending.code, 0);
});

for (const [name, code] of [
  ['the keyboard controller', writingPort(port.i8042, 0xfe)],
  ['the reset register', writingPort(port.power, 1)],
  ["the chipset's reset register", writingPort(port.resetControl, 0x06)],
] as const) {
  test(`ends with exit code 3 when the guest resets through ${name}, if that is wanted`, { skip }, async (t) => {
    const ending = await run(t, code, '--reboot', 'exit');
    t.equal(ending.code, 3);
    t.match(ending.stderr, /^colo-vmm: the guest asked for a reboot\n/);
  });
}

/** Tells of a panic as Linux does, then goes on to what `panic=` says: here it powers off. */
function panicking(): Uint8Array {
  return new Assembler()
    .setDx(port.pvpanic)
    .in()
    .bytes(0x24, 0x01) // AND AL, PANICKED
    .out()
    .print('rebooting')
    .powerOff()
    .assemble();
}

test('a panic has an exit code of its own, whatever the kernel would do next', { skip }, async (t) => {
  const ending = await run(t, panicking());
  t.equal(ending.code, 4);
  t.equal(ending.stdout, '');
  t.match(ending.stderr, /^colo-vmm: the guest's kernel panicked\n/);
});

test('after a panic the kernel does what it was told to if --on-panic says so', { skip }, async (t) => {
  const ending = await run(t, panicking(), '--on-panic', 'run');
  t.equal(ending.code, 0);
  t.equal(ending.stdout, 'rebooting');
  t.match(ending.stderr, /^colo-vmm: the guest's kernel panicked\ncolo-vmm: the guest powered off\n/);
});

test('reports a triple fault with registers and the last words', { skip }, async (t) => {
  const ending = await run(t, tripleFaulting('about to crash\r\n'));
  t.equal(ending.code, 2);
  t.equal(ending.stdout, 'about to crash\r\n');
  t.match(ending.stderr, /^colo-vmm: vcpu 0 triple-faulted/);
  t.match(ending.stderr, /rbx 0000000012345678/);
  t.match(ending.stderr, /rip 00000000001000[0-9a-f]{2}/);
  t.match(ending.stderr, /last bytes of the console:\n.*about to crash/);
});

test('reports a KVM internal error with registers', { skip }, async (t) => {
  const ending = await run(t, jumpingIntoNothing());
  t.equal(ending.code, 2);
  t.match(ending.stderr, /^colo-vmm: KVM internal error on vcpu 0, suberror 1 \(an instruction that KVM could not/);
  t.match(ending.stderr, /rip 00000000d0000000/);
});

for (const cpus of [2, 4, 8]) {
  test(`loses and doubles no byte when ${cpus} vCPUs print at once`, { skip }, async (t) => {
    const ending = await run(t, crowd(cpus), '--cpus', String(cpus));
    const counts = new Map<string, number>();
    for (const letter of ending.stdout) counts.set(letter, (counts.get(letter) ?? 0) + 1);
    const letters = [...'abcdefgh'].slice(0, cpus);
    t.strictSame(
      [...counts].sort(),
      letters.map((letter): [string, number] => [letter, crowdBytesPerCpu]),
    );
    t.equal(ending.code, 0);
  });
}

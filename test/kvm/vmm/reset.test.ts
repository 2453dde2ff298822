import { readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { Assembler, port } from '../../support/assembler.ts';
import { crowd, crowdBytesPerCpu, tripleFaulting } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, takeOutput, until } from '../../support/machines.ts';
import { openFiles } from '../../support/open-files.ts';
import { RawClient } from '../../support/qmp-client.ts';
import { kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm();

const scratchRegister = port.serial + 7;
/** Some RAM that no image is loaded to. */
const ram = 0x30_0000;

/**
 * Says `clean` if RAM, serial port and PCI address register are as a machine has them that has just been made, and `used` if
 * not. Then uses all of them and does what it gets from its serial port: `r` resets, `q` powers off, `f` faults three times.
 */
function rebooting(name = ''): Uint8Array {
  return new Assembler()
    .loadEax(ram)
    .compareEax(0)
    .jumpIfNotZero('used')
    .setDx(scratchRegister)
    .in()
    .compareAl(0)
    .jumpIfNotZero('used')
    .setDx(port.pciAddress)
    .bytes(0xed) // IN EAX, DX
    .compareEax(0)
    .jumpIfNotZero('used')
    .print(`clean${name} `)
    .jump('use')
    .label('used')
    .print(`used${name} `)
    .label('use')
    .store(ram, 0x1234_5678)
    .outByte(scratchRegister, 7)
    .setDx(port.pciAddress)
    .set('eax', 0x8000_0000)
    .bytes(0xef) // OUT DX, EAX
    .label('next')
    .readSerial()
    .compareAl('r'.charCodeAt(0))
    .jumpIfZero('reset')
    .compareAl('q'.charCodeAt(0))
    .jumpIfZero('off')
    .compareAl('f'.charCodeAt(0))
    .jumpIfZero('fault')
    .jump('next')
    .label('reset')
    .outByte(port.power, 1)
    .halt()
    .label('off')
    .powerOff()
    .label('fault')
    .store(0xfec0_0000, 0x10) // I/O APIC: low half of pin 0 ...
    .store(0xfec0_0010, 0x30) // ... to deliver vector 0x30
    .bytes(0x0f, 0x0b) // UD2
    .assemble();
}

/** Resolves once the machine has printed `wanted` in all, in however many pieces. */
function printedBy(machine: ReturnType<typeof bootMachine>): (wanted: string) => Promise<void> {
  let output = '';
  return (wanted) =>
    until(() => {
      output += takeOutput(machine);
      return output === wanted;
    });
}

/** Resets at once. */
function resetting(): Uint8Array {
  return new Assembler().print('.').outByte(port.resetControl, 6).halt().assemble();
}

test('a guest that resets finds a machine as at first, whoever reset it', { skip }, async (t) => {
  const machine = bootMachine(t, rebooting(), { reboots: true });
  const events: unknown[] = [];
  machine.events.listen((event) => events.push(event));
  const printed = printedBy(machine);
  await printed('clean ');
  machine.serial.receive(Buffer.from('r'));
  await printed('clean clean ');
  machine.reset('the test');
  await printed('clean clean clean ');
  // A triple fault as well, of a guest that has come so far as to take interrupts.
  machine.serial.receive(Buffer.from('f'));
  await printed('clean clean clean clean ');
  machine.serial.receive(Buffer.from('q'));
  t.strictSame(await machine.ended, { kind: 'power-off' });
  t.strictSame(events, [
    { kind: 'reset' },
    { kind: 'reset', by: 'the test' },
    { kind: 'reset' },
    { kind: 'ended', end: { kind: 'power-off' } },
  ]);
});

test('a machine that is paused stays paused when it is reset, and is a new one when it is resumed', {
  skip,
}, async (t) => {
  const machine = bootMachine(t, rebooting(), { reboots: true });
  const printed = printedBy(machine);
  await printed('clean ');
  machine.pause();
  machine.serial.receive(Buffer.from('typed before the reset'));
  machine.reset('the test');
  t.equal(machine.state, 'paused');
  t.equal(machine.ram.memory.readU32(ram as never), 0);
  machine.resume();
  await printed('clean clean ');
});

test('a reset that a guest asked for waits until the machine is resumed', { skip }, async (t) => {
  const machine = bootMachine(t, rebooting(), { reboots: true });
  const printed = printedBy(machine);
  let resets = 0;
  machine.events.listen(({ kind }) => {
    if (kind === 'reset') resets++;
  });
  await printed('clean ');
  machine.serial.receive(Buffer.from('r'));
  // Its vCPU asks for the reset while this thread does nothing; the request is heard when it looks again.
  const deadline = performance.now() + 500;
  while (performance.now() < deadline);
  machine.pause();
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(resets, 0);
  t.equal(machine.ram.memory.readU32(ram as never), 0x1234_5678, 'what is saved now is one machine');
  machine.resume();
  await printed('clean clean ');
  t.equal(resets, 1);
});

test('what the guest printed last is printed, though it is gone', { skip }, async (t) => {
  const ending = await resets(t, 3);
  t.ok(ending >= 3);
});

async function resets(t: Parameters<typeof bootMachine>[0], count: number): Promise<number> {
  const machine = bootMachine(t, resetting(), { reboots: true });
  let seen = 0;
  machine.events.listen(({ kind }) => {
    if (kind === 'reset') seen++;
  });
  let dots = 0;
  await until(() => {
    dots += takeOutput(machine).length;
    return seen >= count;
  });
  machine.stop('the test', 0);
  dots += takeOutput(machine).length;
  return dots;
}

test('200 resets leave nothing behind, and the operator is told once', { skip, timeout: 300_000 }, async (t) => {
  const notices: string[] = [];
  const machine = bootMachine(t, resetting(), { reboots: true, cpus: 2, notice: (text) => notices.push(text) });
  let seen = 0;
  const held = () => ({
    descriptors: openFiles().length,
    threads: readdirSync('/proc/self/task').length,
    mappings: readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .filter((line) => /kvm|vcpu|anon_inode/.test(line)).length,
  });
  let atFirst: ReturnType<typeof held> | undefined;
  let residentAtFirst = 0;
  const done = new Promise<void>((resolve) => {
    machine.events.listen(({ kind }) => {
      if (kind !== 'reset') return;
      seen++;
      if (seen === 20) {
        atFirst = held();
        residentAtFirst = process.memoryUsage.rss();
      }
      if (seen === 220) resolve();
    });
  });
  await Promise.race([done, machine.ended]);
  t.equal(seen, 220);
  t.strictSame(held(), atFirst);
  const grown = process.memoryUsage.rss() - residentAtFirst;
  t.ok(grown < 64 << 20, `${grown >> 20} MiB more, and RAM has 16`);
  t.strictSame(notices, ['the guest resets again and again; --reboot exit ends the machine instead']);
});

test('the other vCPUs wait for their start-up again', { skip, timeout: 120_000 }, async (t) => {
  const machine = bootMachine(
    t,
    crowd(4, crowdBytesPerCpu, (guest) => guest.outByte(port.power, 1).halt()),
    {
      reboots: true,
      cpus: 4,
    },
  );
  let output = '';
  let seen = 0;
  machine.events.listen(({ kind }) => {
    if (kind === 'reset') seen++;
  });
  await until(() => {
    output += takeOutput(machine);
    return seen >= 3;
  });
  machine.pause();
  output += takeOutput(machine);
  for (const letter of 'abcd') {
    const count = [...output].filter((each) => each === letter).length;
    t.ok(count >= 3 * crowdBytesPerCpu, `${letter}: ${count}`);
  }
});

test('a triple fault of a kernel that was never there is a crash', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const ending = await runVmm(['run', '--kernel', kernelFile(folder, tripleFaulting('')), '--memory', '16M']);
  t.equal(ending.code, 2);
});

test('clients hear of resets as QEMU tells them, and stay connected', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const control = join(folder, 'control');
  const kernel = kernelFile(folder, rebooting());
  const vmm = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', '--control', control]);
  t.teardown(() => vmm.child.kill('SIGKILL'));
  await vmm.printed('clean ');
  const client = await new RawClient(t, control).begin();
  vmm.write('r');
  t.match(await client.next(), { event: 'RESET', data: { guest: true, reason: 'guest-reset' } });
  await vmm.printed('clean clean ');
  client.socket.write('{"execute":"system_reset"}');
  const said = [await client.next(), await client.next()];
  t.match(
    said.find((each) => 'event' in (each as object)),
    { event: 'RESET', data: { guest: false, reason: 'host-qmp-system-reset' } },
  );
  await vmm.printed('clean clean clean ');
  t.match(await client.ask('{"execute":"query-status"}'), { return: { status: 'running' } });
  vmm.write('q');
  t.equal((await vmm.ended).code, 0);
});

test('a reset boots the kernel that the machine was started with, whatever has its name by now', {
  skip,
}, async (t) => {
  const folder = temporaryFolder(t);
  const kernel = kernelFile(folder, rebooting(' old'));
  const vmm = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', '--control', join(folder, 'control')]);
  t.teardown(() => vmm.child.kill('SIGKILL'));
  await vmm.printed('clean old ');
  renameSync(kernelFile(folder, rebooting(' new'), 'new.elf'), kernel);
  vmm.write('r');
  await vmm.printed('clean old clean old ');
  rmSync(kernel);
  vmm.write('r');
  await vmm.printed('clean old clean old clean old ');
  vmm.write('q');
  t.equal((await vmm.ended).code, 0);
});

test('a restored machine boots what it booted before it was saved', { skip, timeout: 120_000 }, async (t) => {
  const folder = temporaryFolder(t);
  const control = join(folder, 'control');
  const kernel = kernelFile(folder, rebooting());
  const first = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', '--control', control]);
  t.teardown(() => first.child.kill('SIGKILL'));
  await first.printed('clean ');
  const snapshot = join(folder, 'saved');
  const { code, stderr } = await runVmm(['snapshot', '--stop', snapshot, '--control', control]);
  t.equal(code, 0, stderr);
  await first.ended;
  const second = new VmmProcess(['restore', snapshot, '--control', control]);
  t.teardown(() => second.child.kill('SIGKILL'));
  second.write('r');
  await second.printed('clean ');
  // And so does the one that is saved of that.
  const again = await runVmm(['snapshot', '--stop', snapshot, '--control', control]);
  t.equal(again.code, 0, again.stderr);
  await second.ended;
  rmSync(kernel);
  const third = new VmmProcess(['restore', snapshot, '--control', control]);
  t.teardown(() => third.child.kill('SIGKILL'));
  third.write('r');
  const ending = await third.ended;
  t.equal(ending.code, 3);
  t.match(ending.stderr, /the machine cannot begin anew: .*guest\.elf: no such file\n/);
});

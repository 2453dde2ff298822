import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'tap';
import { gpa, MiB } from '../../../../src/memory/address.ts';
import { Machine } from '../../../../src/vmm/machine/machine.ts';
import { counterAddress, counting, echoing, halted, printing, reciting, storming } from '../../../support/guests.ts';
import { noKvm } from '../../../support/kvm.ts';
import { bootMachine, forAWhile, takeOutput, until, vcpuProgram } from '../../../support/machines.ts';
import { openFiles } from '../../../support/open-files.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

const skip = noKvm();

function count(machine: Machine): number {
  return machine.ram.memory.readU32(gpa(counterAddress));
}

function hashRam(machine: Machine): string {
  const hash = createHash('sha256');
  for (const region of machine.ram.memory.regions) {
    hash.update(machine.ram.memory.slice(region.start, region.sizeBytes));
  }
  return hash.digest('hex');
}

test('tells how the guest ended, once', { skip }, async (t) => {
  const machine = bootMachine(t, printing('bye'));
  const end = await machine.ended;
  t.strictSame(end, { kind: 'power-off' });
  machine.stop('a late caller', 1);
  t.strictSame(await machine.ended, { kind: 'power-off' });
  t.equal(machine.state, 'ended');
  t.equal(takeOutput(machine), 'bye');
  await machine.close();
});

for (const [state, code] of [
  ['computes without an exit', counting(false)],
  ['exits all the time', counting(true)],
] as const) {
  test(`stands still while paused, and goes on when resumed, when the guest ${state}`, { skip }, async (t) => {
    const machine = bootMachine(t, code);
    await until(() => count(machine) > 0);

    machine.pause();
    const paused = hashRam(machine);
    const counted = count(machine);
    await forAWhile(200);

    t.equal(hashRam(machine), paused, 'not a byte changed');
    t.equal(machine.state, 'paused');
    machine.resume();
    await until(() => count(machine) !== counted);
    t.equal(machine.state, 'running');
    await machine.close();
  });

  test(`stands still from the moment that pause returns, when the guest ${state}`, { skip }, async (t) => {
    const machine = bootMachine(t, code);
    await until(() => count(machine) > 0);
    for (let round = 0; round < 500; round++) {
      machine.pause();
      const [first, exits] = [count(machine), machine.exits.portOut];
      const end = performance.now() + 1;
      while (performance.now() < end) {
        if (count(machine) !== first || machine.exits.portOut !== exits) t.fail(`it ran on in round ${round}`);
      }
      machine.resume();
      await new Promise(setImmediate);
    }
    t.pass('500 times');
  });
}

test('pauses and ends a guest that is halted', { skip }, async (t) => {
  const machine = bootMachine(t, halted('here'));
  let printed = '';
  await until(() => {
    printed += takeOutput(machine);
    return printed === 'here';
  });
  machine.pause();
  t.equal(machine.state, 'paused');
  machine.resume();
  machine.stop('the test', 7);
  t.strictSame(await machine.ended, { kind: 'stopped', by: 'the test', exitCode: 7 });
  await machine.close();
});

test('can be paused right after it was booted', { skip }, async (t) => {
  const machine = bootMachine(t, counting(false), { cpus: 4 });
  machine.pause();
  const before = count(machine);
  await forAWhile(300);
  t.equal(count(machine), before);
  machine.resume();
  await until(() => count(machine) !== before);
  t.pass('it runs');
  await machine.close();
});

test('can be paused while its threads still load their program', { skip }, async (t) => {
  const program = join(temporaryFolder(t), 'slow.mjs');
  const sleep = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000);';
  writeFileSync(program, `${sleep} await import(${JSON.stringify(vcpuProgram.href)});`);
  const machine = bootMachine(t, counting(false), { program: pathToFileURL(program) });
  machine.pause();
  await forAWhile(3000);
  t.equal(count(machine), 0, 'it has parked before its first instruction');
  machine.resume();
  await until(() => count(machine) > 0);
  await machine.close();
});

test('can be closed right after it was booted', { skip }, async (t) => {
  const machine = bootMachine(t, counting(true), { cpus: 4 });
  await machine.close();
  t.equal(machine.state, 'ended');
});

test('keeps every byte of output through 3000 pauses in an exit storm', { skip }, async (t) => {
  const machine = bootMachine(t, reciting());
  await until(() => machine.exits.portOut > 100);
  let text = '';
  for (let round = 0; round < 3000; round++) {
    machine.pause();
    text += takeOutput(machine);
    machine.resume();
    if (round % 4 === 0) await new Promise(setImmediate); // now and then the guest gets some way
  }
  machine.pause();
  text += takeOutput(machine);
  t.ok(text.length > 500, `${text.length} bytes`);
  const alphabet = 'abcdefghijklmnopqrstuvwxyz';
  const expected = alphabet.repeat(Math.ceil(text.length / alphabet.length)).slice(0, text.length);
  t.ok(text === expected, 'no byte lost, none doubled');
  t.equal(text.length, machine.exits.portOut, 'one exit for each byte');
  await machine.close();
});

test('takes input while it is paused, and gives it to the guest afterwards', { skip }, async (t) => {
  const machine = bootMachine(t, echoing());
  await until(() => machine.exits.portIn > 0);
  machine.pause();
  machine.serial.receive(Buffer.from('typed'));
  machine.resume();
  let printed = '';
  await until(() => {
    printed += takeOutput(machine);
    return printed.length >= 5;
  });
  t.equal(printed, 'typed');
  await machine.close();
});

test('gives back every descriptor, thread and mapping', { skip, timeout: 240_000 }, async (t) => {
  const rounds = 20;
  const live = () => ({
    descriptors: openFiles().length,
    threads: readdirSync('/proc/self/task').length,
    vcpuMappings: readFileSync('/proc/self/maps', 'utf8').split('kvm-vcpu').length - 1,
  });
  const cycle = async (code: Uint8Array): Promise<void> => {
    const machine = bootMachine(t, code, { cpus: 2 });
    await until(() => machine.exits.portOut > 0);
    machine.ram.memory.writableSlice(gpa(8 * MiB), 8 * MiB).fill(1);
    await machine.close();
  };
  for (let round = 0; round < 3; round++) await cycle(storming('x')); // whatever is made once is made now
  const before = live();
  const residentBefore = residentBytes();

  for (let round = 0; round < rounds; round++) await cycle(round % 2 === 0 ? storming('x') : printing('x'));

  t.strictSame(live(), before);
  t.equal(before.vcpuMappings, 0);
  const grownBytes = residentBytes() - residentBefore;
  t.ok(grownBytes < (rounds * 8 * MiB) / 2, `${grownBytes / MiB} MiB more are there: guest RAM was not given back`);
});

/** Memory that this process has. */
function residentBytes(): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

test('a machine that is closed refuses to be stopped or saved', { skip }, async (t) => {
  const machine = bootMachine(t, storming('x'));
  await until(() => machine.exits.portOut > 0);
  await machine.close();
  for (const refused of [() => machine.pause(), () => machine.save(), () => machine.whilePaused(() => {})]) {
    t.throws(refused, { code: 'RUN_STATE' });
  }
});

test('leaves nothing behind when the images do not fit', { skip }, async (t) => {
  const before = openFiles().length;
  for (let round = 0; round < 5; round++) {
    const machine = new Machine({ cpus: 2, memoryBytes: 16 * MiB, cpuMask: [] }, vcpuProgram);
    t.throws(() => machine.boot({ kernel: { name: 'nothing', bytes: new Uint8Array(10) }, commandLine: '' }), {
      message: /nothing/,
    });
    await machine.close();
  }
  t.equal(openFiles().length, before);
});

for (const [what, source, why] of [
  ['throws', 'throw new Error("out of order");', /^vcpu \d: out of order$/],
  ['exits', 'process.exit(3);', /^vcpu \d: its thread ended with exit code 3$/],
] as const) {
  test(`ends when a vCPU thread ${what}`, { skip, timeout: 20_000 }, async (t) => {
    const program = join(temporaryFolder(t), 'broken.mjs');
    writeFileSync(program, source);
    const machine = bootMachine(t, halted(), { cpus: 2, program: pathToFileURL(program) });
    const end = await machine.ended;
    t.match(end, { kind: 'vmm-failure', what: why });
    await machine.close();
  });
}

import { type Test, test } from 'tap';
import { VmStateError } from '../../../src/devices/vm-state-error.ts';
import { gpa, MiB } from '../../../src/memory/address.ts';
import { Machine } from '../../../src/vmm/machine/machine.ts';
import type { MachineState } from '../../../src/vmm/vmstate/machine-state.ts';
import { decodeMachineState, encodeMachineState } from '../../../src/vmm/vmstate/state-codec.ts';
import { Assembler } from '../../support/assembler.ts';
import {
  counterAddress,
  counting,
  crowd,
  crowdBytesPerCpu,
  halted,
  printingByString,
  reciting,
  spinning,
  storming,
} from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, forAWhile, takeOutput, until, vcpuProgram } from '../../support/machines.ts';
import { copyRam, fingerprint, withoutExceptions } from '../../support/vmstate.ts';

const skip = noKvm();

/** A machine that was never booted, to load a state into. */
function emptyMachine(t: Test, cpus = 1, memoryBytes = 16 * MiB): Machine {
  const machine = new Machine({ cpus, memoryBytes, cpuMask: [] }, vcpuProgram);
  t.teardown(() => machine.close());
  return machine;
}

const counter = (machine: Machine): number => machine.ram.memory.readU32(gpa(counterAddress));

/** Has what a machine saves go through a file. */
const throughCbor = (state: MachineState): MachineState => decodeMachineState(encodeMachineState(state));

const guests: readonly (readonly [string, Uint8Array, number])[] = [
  ['that spins', spinning('x'), 1],
  ['that is halted', halted('x'), 1],
  ['in a storm of port writes', storming('x'), 1],
  ['in a string instruction', printingByString('x'.repeat(60_000)), 1],
  ['that counts in memory', counting(false), 1],
  ['with four vCPUs', crowd(4), 4],
];

for (const [name, code, cpus] of guests) {
  test(`nothing changes while a guest ${name} is paused`, { skip, timeout: 60_000 }, async (t) => {
    const machine = bootMachine(t, code, { cpus });
    await forAWhile(300);
    machine.pause();
    const before = fingerprint(machine);
    await forAWhile(300);
    t.equal(fingerprint(machine), before);
  });

  test(`a guest ${name} that is saved, loaded and saved again is the same`, { skip, timeout: 60_000 }, async (t) => {
    const machine = bootMachine(t, code, { cpus });
    await forAWhile(300);
    machine.pause();
    const state = throughCbor(machine.save());
    machine.load(state);
    t.strictSame(withoutExceptions(machine.save()), withoutExceptions(state), 'in the same machine');

    const other = emptyMachine(t, cpus);
    copyRam(machine, other);
    other.load(state);
    t.strictSame(withoutExceptions(other.save()), withoutExceptions(state), 'in a new one');
  });
}

test('what is written as CBOR is what was saved', { skip }, async (t) => {
  const machine = bootMachine(t, reciting());
  await until(() => takeOutput(machine).length > 0);
  machine.pause();
  const state = machine.save();
  t.strictSame(throughCbor(state), state);
});

test('a guest goes on in another machine where it was saved', { skip, timeout: 60_000 }, async (t) => {
  const machine = bootMachine(t, reciting());
  let text = '';
  await until(() => {
    text += takeOutput(machine);
    return text.length > 1000;
  });
  machine.pause();
  text += takeOutput(machine);
  for (let generation = 0, last = machine; generation < 5; generation++) {
    const next = emptyMachine(t);
    copyRam(last, next);
    next.load(throughCbor(last.save()));
    next.resume();
    const wanted = text.length + 100;
    await until(() => {
      text += takeOutput(next);
      return text.length > wanted;
    });
    next.pause();
    text += takeOutput(next);
    last = next;
  }
  const alphabet = 'abcdefghijklmnopqrstuvwxyz';
  t.equal(text, alphabet.repeat(Math.ceil(text.length / 26)).slice(0, text.length));
});

test('a machine that is stopped before its vCPUs have begun is saved as it will begin', { skip }, async (t) => {
  const machine = bootMachine(t, printingByString('hello'));
  machine.pause();
  const other = emptyMachine(t);
  copyRam(machine, other);
  other.load(throughCbor(machine.save()));
  other.resume();
  t.equal((await other.ended).kind, 'power-off');
  t.equal(takeOutput(other), 'hello');
  machine.resume();
  t.equal((await machine.ended).kind, 'power-off');
  t.equal(takeOutput(machine), 'hello');
});

test('a machine goes back to where it was saved, as often as it is told', { skip, timeout: 60_000 }, async (t) => {
  const machine = bootMachine(t, counting(true));
  await until(() => counter(machine) > 50);
  machine.pause();
  const state = machine.save();
  const page = machine.ram.memory.slice(gpa(0), 16 * MiB).slice();
  const saved = counter(machine);
  for (let round = 0; round < 20; round++) {
    machine.ram.memory.write(gpa(0), page);
    machine.load(state);
    t.equal(counter(machine), saved);
    machine.resume();
    await until(() => counter(machine) > saved + 20);
    machine.pause();
  }
});

test('all vCPUs finish in another machine what they began in one', { skip, timeout: 60_000 }, async (t) => {
  const machine = bootMachine(t, crowd(4), { cpus: 4 });
  let text = '';
  await until(() => {
    text += takeOutput(machine);
    return text.includes('d') || text.length > 100;
  });
  machine.pause();
  text += takeOutput(machine);
  const other = emptyMachine(t, 4);
  copyRam(machine, other);
  other.load(throughCbor(machine.save()));
  other.resume();
  const end = await other.ended;
  text += takeOutput(other);
  t.equal(end.kind, 'power-off');
  for (const letter of 'abcd') t.equal(text.split(letter).length - 1, crowdBytesPerCpu, letter);
});

/** States that are refused, by what is done to a good one. */
const broken: readonly (readonly [string, RegExp, (state: MachineState) => MachineState])[] = [
  ['of another size', /memoryBytes is 4096, and the machine here has/, (state) => ({ ...state, memoryBytes: 4096 })],
  [
    'of more vCPUs',
    /vcpus are 2, and the machine here has 1/,
    (state) => ({ ...state, vcpus: [...state.vcpus, ...state.vcpus] }),
  ],
  [
    'with an MSR that does not take the value',
    /msrs are refused by this host's KVM: 0xc0000082 = 0x8000000000000000/,
    (state) => ({
      ...state,
      vcpus: state.vcpus.map((vcpu) => ({ ...vcpu, msrs: [{ index: 0xc000_0082, value: 1n << 63n }] })),
    }),
  ],
  [
    'with an EFER that no processor has',
    /sregs is refused by this host's KVM/,
    (state) => ({
      ...state,
      vcpus: state.vcpus.map((vcpu) => ({ ...vcpu, sregs: { ...vcpu.sregs, efer: 0xffff_ffffn } })),
    }),
  ],
];

for (const [what, message, breakIt] of broken) {
  test(`refuses a state ${what}, and the machine is as it was`, { skip, timeout: 60_000 }, async (t) => {
    const machine = bootMachine(t, counting(true));
    await until(() => counter(machine) > 50);
    machine.pause();
    const before = fingerprint(machine);
    const state = breakIt(machine.save());
    t.throws(() => machine.load(state), { name: 'VmStateError', message });
    t.equal(fingerprint(machine), before);
    machine.resume();
    const saved = counter(machine);
    await until(() => counter(machine) > saved + 20);
  });
}

test('refuses bytes that are no state, each with a reason', { skip }, async (t) => {
  const machine = bootMachine(t, spinning());
  machine.pause();
  const bytes = encodeMachineState(machine.save());
  for (let length = 0; length < bytes.length; length += 97) {
    t.throws(() => decodeMachineState(bytes.subarray(0, length)), VmStateError, `${length} of ${bytes.length} bytes`);
  }
  const newer = encodeMachineState({ ...machine.save(), version: 2 as 1 });
  t.throws(() => decodeMachineState(newer), { message: /written by a newer version of colo-vmm/ });
});

test('a machine that runs is not saved, nor loaded into', { skip }, async (t) => {
  const machine = bootMachine(t, spinning());
  machine.pause();
  const state = machine.save();
  machine.resume();
  t.throws(() => machine.save(), { code: 'RUN_STATE' });
  t.throws(() => machine.load(state), { code: 'RUN_STATE' });
});

test('the time that a machine stands still is none for its guest, or all of it, as is wished', { skip }, async (t) => {
  const pauseMs = 2000;
  const toNs = 1_000_000n;
  const machine = bootMachine(t, counting(true));
  await until(() => counter(machine) > 50);
  const passed = async (mode: 'keep' | 'jump'): Promise<bigint> => {
    machine.pause();
    const { kvmclockNs } = machine.save().clock;
    await forAWhile(pauseMs);
    machine.resume(mode);
    await until(() => machine.clockBehindMs === 0);
    machine.pause();
    const later = machine.save().clock.kvmclockNs;
    machine.resume();
    return later - kvmclockNs;
  };
  t.ok((await passed('jump')) >= BigInt(pauseMs - 10) * toNs, 'jump');
  t.ok((await passed('keep')) < BigInt(pauseMs) * toNs, 'keep');
});

/** A state, of so many seconds before. */
const secondsAgo = (state: MachineState, seconds: number): MachineState => ({
  ...state,
  clock: { ...state.clock, realtimeNs: state.clock.realtimeNs - BigInt(seconds) * 1_000_000_000n },
});

/** What a machine's clocks are ahead of the state's, in ms, besides what the wall clock is. */
function aheadMs(machine: Machine, since: MachineState): number {
  const { kvmclockNs, realtimeNs } = machine.save().clock;
  return Number(kvmclockNs - since.clock.kvmclockNs - (realtimeNs - since.clock.realtimeNs)) / 1e6;
}

/** Pauses a machine once its guest halts; its state. */
async function pausedHalted(machine: Machine): Promise<MachineState> {
  for (;;) {
    machine.pause();
    const state = machine.save();
    if (state.vcpus[0]?.mpState !== 0) return state;
    machine.resume();
    await forAWhile(5);
  }
}

test('the clock of a guest that is busy goes in steps, and no time is lost by a pause in between', {
  skip,
}, async (t) => {
  const machine = bootMachine(t, spinning());
  await forAWhile(20);
  machine.pause();
  const old = secondsAgo(machine.save(), 3600);
  machine.load(old);
  machine.resume('jump');
  machine.pause();
  const behindMs = machine.clockBehindMs;
  t.ok(behindMs > 3_000_000, `${behindMs} ms are still to come`);
  t.ok(Math.abs(aheadMs(machine, old)) < 100, 'who goes on from here will know how far behind it is');
  machine.resume('keep');
  await until(() => machine.clockBehindMs === 0);
  machine.pause();
  t.ok(Math.abs(aheadMs(machine, old)) < 100, `${aheadMs(machine, old)} ms`);
});

test('the clock of a guest that is halted jumps at once', { skip }, async (t) => {
  const machine = bootMachine(t, halted());
  const old = secondsAgo(await pausedHalted(machine), 3600);
  machine.load(old);
  machine.resume('jump');
  t.equal(machine.clockBehindMs, 0);
  machine.pause();
  t.ok(Math.abs(aheadMs(machine, old)) < 100, `${aheadMs(machine, old)} ms`);
});

/** Where kvmclock's guest has the wall clock, across two pages, and its own time. */
const wallClockAddress = 0x30_0ffa;
const systemTimeAddress = 0x30_2000;

/** Sets both clocks of kvmclock up, as Linux does, and counts. */
function keepingTime(): Uint8Array {
  const wrmsr = (guest: Assembler, index: number, value: number): Assembler =>
    guest
      .set('ecx', index)
      .bytes(0xb8)
      .word(value) // MOV EAX, value
      .bytes(0x31, 0xd2, 0x0f, 0x30); // XOR EDX, EDX; WRMSR
  const guest = new Assembler();
  wrmsr(guest, 0x4b56_4d00, wallClockAddress);
  wrmsr(guest, 0x4b56_4d01, systemTimeAddress | 1);
  return guest
    .set('ebx', counterAddress)
    .label('step')
    .bytes(0xff, 0x03) // INC [EBX]
    .jump('step')
    .assemble();
}

test('a load leaves RAM as it was, bit for bit, in a new machine and in the same one', { skip }, async (t) => {
  const machine = bootMachine(t, keepingTime());
  await until(() => counter(machine) > 50);
  machine.pause();
  const wallClock = machine.ram.memory.slice(gpa(wallClockAddress), 12);
  t.ok(
    wallClock.some((byte) => byte !== 0),
    'KVM has written the wall clock',
  );
  const state = throughCbor(machine.save());
  const ram = (of: Machine): Buffer => Buffer.from(of.ram.memory.slice(gpa(0), 16 * MiB).slice());

  const other = emptyMachine(t);
  copyRam(machine, other);
  // What would tell the time of the load if it were written.
  other.ram.memory.write(
    gpa(wallClockAddress),
    Uint8Array.from({ length: 12 }, (_, index) => 0xa0 + index),
  );
  const before = ram(other);
  other.load(state);
  t.ok(ram(other).equals(before), 'in a new one');

  machine.load(state);
  const unlike = { ...state, vcpus: state.vcpus.map((vcpu) => ({ ...vcpu, msrs: [...vcpu.msrs].reverse() })) };
  machine.ram.memory.write(
    gpa(wallClockAddress),
    Uint8Array.from({ length: 12 }, (_, index) => 0xa0 + index),
  );
  const here = ram(machine);
  machine.load(unlike);
  t.ok(ram(machine).equals(here), 'in the same one, where every MSR is set');
});

test('a load takes back the timer that was armed, if it is not to be', { skip }, async (t) => {
  const machine = bootMachine(t, spinning());
  machine.pause();
  const state = machine.save();
  const [vcpu] = state.vcpus;
  if (vcpu === undefined) throw new Error('no vCPU');
  const lapic = vcpu.lapic.slice();
  const registers = new DataView(lapic.buffer);
  const spuriousVector = 0xf0;
  const timer = 0x320;
  const tscDeadlineMode = 2 << 17;
  registers.setUint32(spuriousVector, 0x1ff, true);
  registers.setUint32(timer, tscDeadlineMode | 0xec, true);
  const inAnHour = (state.clock.tsc[0] ?? 0n) + BigInt(state.clock.tscKhz) * 3_600_000n;
  const withDeadline = (tscDeadline: bigint): MachineState => ({ ...state, vcpus: [{ ...vcpu, lapic, tscDeadline }] });
  const armed = (): bigint => machine.save().vcpus[0]?.tscDeadline ?? -1n;
  machine.load(withDeadline(inAnHour));
  t.equal(armed(), inAnHour);
  machine.load(withDeadline(0n));
  t.equal(armed(), 0n);
  machine.load(withDeadline(inAnHour));
  t.equal(armed(), inAnHour, 'and arms it again');
});

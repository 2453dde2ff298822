import { test } from 'tap';
import { KvmDevice } from '../../../src/host/kvm/kvm-device.ts';
import { clockFlag } from '../../../src/host/kvm/state-abi.ts';
import { VcpuRegisters } from '../../../src/host/kvm/vcpu-registers.ts';
import { VmRegisters } from '../../../src/host/kvm/vm-registers.ts';
import { AnonymousMapping } from '../../../src/host/mappings/mapping.ts';
import { Owner } from '../../../src/host/ownership.ts';
import { pageSize } from '../../../src/memory/address.ts';
import { MachineClocks } from '../../../src/vmm/vmstate/clock-state.ts';
import { lostNs } from '../../../tools/bench/clock-drift.ts';
import { spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine } from '../../support/machines.ts';

type Teardown = { teardown(clean: () => void): void };

/** The clocks of a VM with so many vCPUs, none of which runs. */
function clocksOf(t: Teardown, cpus: number): { clocks: MachineClocks; vm: VmRegisters; vcpus: VcpuRegisters[] } {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const kvm = owner.own(new KvmDevice());
  const vm = owner.own(kvm.createVm());
  vm.createIrqchip();
  const scratch = owner.own(new AnonymousMapping('scratch', pageSize));
  const vcpus = Array.from({ length: cpus }, (_, index) => new VcpuRegisters(vm.createVcpu(index), scratch));
  const registers = new VmRegisters(vm.fd);
  const clocks = new MachineClocks(registers, vcpus, false);
  // KVM tells the host's TSC once it has set its own clock by it.
  clocks.set(clocks.save(), 0n);
  return { clocks, vm: registers, vcpus };
}

/** Why the TSC cannot be held here; false if it can. */
function noTsc(): string | false {
  const reason = noKvm();
  if (reason !== false) return reason;
  const owner = new Owner();
  try {
    const { vm, vcpus } = clocksOf({ teardown: (clean) => owner.defer(clean) }, 1);
    if ((vm.clock.flags & clockFlag.hostTsc) === 0) return "this host's KVM does not tell the TSC beside kvmclock";
    vcpus[0]?.setTscOffset(-4711n);
    return vcpus[0]?.tscOffset === -4711n ? false : "this host's KVM gives guests the host's TSC whatever it is told";
  } finally {
    owner.close();
  }
}

const skip = noTsc();

/**
 * How far kvmclock and the TSC may be apart after so many times that the clocks were set, in nanoseconds. Each rounds two times to a
 * whole nanosecond and once to a whole cycle: 2 ns if all were in one direction. And KVM has the TSC's frequency in whole kHz, which
 * is off by less than one in a million, and notices the difference whenever it sets its clock.
 */
function tolerance(times: number, elapsedMs: number): number {
  return 2 * times + elapsedMs;
}

for (const cpus of [1, 2]) {
  test(`10,000 pauses leave kvmclock and the TSC of ${cpus} vCPUs together`, { skip, timeout: 240_000 }, async (t) => {
    const times = 10_000;
    const { clocks } = clocksOf(t, cpus);
    const started = performance.now();
    const before = clocks.save();
    for (let pause = 0; pause < times; pause++) clocks.set(clocks.save(), 0n);
    const after = clocks.save();
    const apart = lostNs(before, after);
    const most = tolerance(times, performance.now() - started);
    t.comment(`${apart} ns of ${most}`);
    t.ok(Math.abs(apart) <= most, `${apart} ns apart, and at most ${most} may be`);
    t.ok(
      after.tsc.every((tsc) => tsc === after.tsc[0]),
      'and all vCPUs have the same',
    );
  });
}

test('time that is to pass for the guest passes on both clocks', { skip, timeout: 60_000 }, async (t) => {
  const { clocks } = clocksOf(t, 1);
  const started = performance.now();
  const before = clocks.save();
  const hour = 3_600_000_000_000n;
  clocks.set(before, hour);
  const after = clocks.save();
  t.ok(after.kvmclockNs - before.kvmclockNs >= hour);
  t.ok(Math.abs(lostNs(before, after)) <= tolerance(1, performance.now() - started));
  clocks.advance(hour);
  const later = clocks.save();
  t.ok(later.kvmclockNs - after.kvmclockNs >= hour);
  t.ok(Math.abs(lostNs(before, later)) <= tolerance(2, performance.now() - started));
});

test('clocks that are set are held: what passed since they were read has not been', {
  skip,
  timeout: 60_000,
}, async (t) => {
  const { clocks } = clocksOf(t, 1);
  const before = clocks.save();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const read = process.hrtime.bigint();
  clocks.set(before, 0n);
  const after = clocks.save();
  const took = process.hrtime.bigint() - read;
  const passed = after.kvmclockNs - before.kvmclockNs;
  t.ok(passed >= 0n && passed <= took, `${passed} ns have passed, while setting them took ${took}`);
});

test('a guest that is paused and resumed has clocks that stay together', { skip, timeout: 240_000 }, async (t) => {
  const times = 500;
  const machine = bootMachine(t, spinning('x'));
  machine.pause();
  const before = machine.save().clock;
  const started = performance.now();
  for (let pause = 0; pause < times; pause++) {
    machine.resume();
    machine.pause();
  }
  const apart = lostNs(before, machine.save().clock);
  const most = tolerance(times, performance.now() - started);
  t.ok(Math.abs(apart) <= most, `${apart} ns apart, and at most ${most} may be`);
});

import { test } from 'tap';
import { bootRegisters } from '../../../firmware/boot-registers.ts';
import { capability, exitReason, kvmRun } from '../../../src/host/kvm/abi.ts';
import { KvmDevice } from '../../../src/host/kvm/kvm-device.ts';
import { Vcpu } from '../../../src/host/kvm/vcpu.ts';
import type { MemorySlot, Vm } from '../../../src/host/kvm/vm.ts';
import { Owner } from '../../../src/host/ownership.ts';
import { GiB, gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { DirtyCollector, type DirtyTracker } from '../../../src/memory/dirty-collector.ts';
import { Ram, type RamBacking } from '../../../src/memory/ram.ts';
import { guestCpuid } from '../../../src/vmm/vcpu/cpuid.ts';
import { setUpVcpu } from '../../../src/vmm/vcpu/vcpu-setup.ts';
import { DirtyingGuest, firstFreePage } from '../../../tools/bench/dirtying-guest.ts';
import { Assembler, port } from '../../support/assembler.ts';
import { noKvm } from '../../support/kvm.ts';
import { tinyElfBase } from '../../support/tiny-elf.ts';

const skip = noKvm();

interface Rig {
  readonly vm: Vm;
  readonly ram: Ram;
  readonly collector: DirtyCollector;
  readonly tracker: DirtyTracker;
  /** Lets the guest run to its next port write. */
  step(): void;
}

/** A vCPU on this thread, its RAM, and a tracker that starts with everything clean. */
function rig(
  t: { teardown(clean: () => void): void },
  code: Uint8Array,
  backing: RamBacking,
  initiallySet: boolean,
): Rig {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const kvm = owner.own(new KvmDevice());
  const vm = owner.own(kvm.createVm());
  const manual = 1n;
  const initially = 2n;
  vm.enableCapability(capability.manualDirtyLogProtect2, initiallySet ? manual | initially : manual);
  const ram = owner.own(new Ram(16 * MiB, backing));
  vm.createIrqchip();
  for (const slot of ram.slots) vm.setMemory(slot);
  const vcpu = new Vcpu(vm.createVcpu(0));
  ram.memory.write(gpa(tinyElfBase), code);
  const cpuid = guestCpuid(kvm.supportedCpuid(), 0, { cpus: 1, tscDeadline: false, keepsTsc: true, mask: [] });
  setUpVcpu(vcpu.registers, cpuid, bootRegisters({ protocol: 'pvh', entry: gpa(tinyElfBase), startInfo: gpa(0x6000) }));
  const collector = new DirtyCollector(vm, ram);
  const tracker = owner.own(collector.track());
  const step = (): void => {
    while (vcpu.enter() === 'interrupted');
    const reason = vcpu.run.getUint32(kvmRun.offsets.exit_reason, true);
    if (reason !== exitReason.io) throw new Error(`the guest left for reason ${reason}`);
  };
  return { vm, ram, collector, tracker, step };
}

/** The pages that `collect` tells, in order. */
function pages(tracker: DirtyTracker): number[] {
  const found: number[] = [];
  for (const bitmap of tracker.collect()) {
    bitmap.forEach((page) => {
      found.push(page);
    });
  }
  return found;
}

/** Writes a byte into each of the pages, then to a port; round after round. */
function touching(...rounds: number[][]): Uint8Array {
  const guest = new Assembler();
  for (const round of rounds) {
    for (const page of round) guest.set('ebx', page * pageSize + 17).bytes(0xc6, 0x03, 0x5a); // MOV BYTE [EBX], 0x5a
    guest.outByte(port.delay, 0);
  }
  return guest.halt().assemble();
}

const first = (2 * MiB) / pageSize;

for (const backing of ['private', 'shared'] as const) {
  for (const initiallySet of [false, true]) {
    const how = `${backing} RAM, log ${initiallySet ? 'full' : 'empty'} at the start`;

    test(`tells exactly the pages the guest wrote, each time (${how})`, { skip }, async (t) => {
      const { tracker, step } = rig(
        t,
        touching([first, first + 2, first + 100], [], [first + 2], [4095, 600]),
        backing,
        initiallySet,
      );
      step();
      t.strictSame(pages(tracker), [first, first + 2, first + 100]);
      step();
      t.strictSame(pages(tracker), []);
      step();
      t.strictSame(pages(tracker), [first + 2], 'a page that was dirty before is seen again');
      step();
      t.strictSame(pages(tracker), [600, 4095]);
    });

    test(`unites the guest's writes with our own (${how})`, { skip }, async (t) => {
      const { ram, tracker, step } = rig(t, touching([first, first + 1], [first]), backing, initiallySet);
      ram.memory.writeU32(gpa((first + 1) * pageSize), 1);
      ram.memory.write(gpa((first + 7) * pageSize - 1), Uint8Array.of(1, 2));
      step();
      t.strictSame(pages(tracker), [first, first + 1, first + 6, first + 7]);
      t.strictSame(pages(tracker), []);
      step();
      ram.memory.readU32(gpa((first + 9) * pageSize));
      t.strictSame(pages(tracker), [first], 'reading leaves no mark');
    });
  }
}

test('records nothing any more once it is closed, and starts clean again', { skip }, async (t) => {
  const { ram, tracker, step } = rig(t, touching([first], [first + 1], [first + 2]), 'private', false);
  step();
  tracker.close();
  ram.memory.writeU8(gpa(0), 1);
  t.equal(ram.memory.tracking, false);
  t.equal(ram.memory.regions[0]?.written.count, 0);
  step();
  t.pass('the guest runs on');
});

test('sees what the guest writes through a string instruction across pages', { skip }, async (t) => {
  const guest = new Assembler()
    .set('edi', (first + 10) * pageSize + 4000)
    .set('ecx', 2 * pageSize)
    .bytes(0xfc, 0xf3, 0xaa) // CLD; REP STOSB
    .outByte(port.delay, 0)
    .halt()
    .assemble();
  const { tracker, step } = rig(t, guest, 'private', false);
  step();
  t.strictSame(pages(tracker), [first + 10, first + 11, first + 12]);
});

test('tells of the last page of RAM that is no multiple of 64 pages, and of the first ones after it', {
  skip,
}, async (t) => {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const pagesOfRam = 1024 + 67;
  const ram = owner.own(new Ram(pagesOfRam * pageSize));
  const guest = owner.own(new DirtyingGuest(ram));
  const tracker = owner.own(new DirtyCollector(guest.vm, ram).track());
  for (const [first, count, step] of [
    [pagesOfRam - 1, 1, 1],
    [firstFreePage, 1, 1],
    [firstFreePage, 2, 578],
  ] as const) {
    guest.dirty(first, count, step);
    const expected = Array.from({ length: count }, (_, index) => first + index * step);
    t.strictSame(
      pages(tracker).filter((page) => page >= firstFreePage),
      expected,
    );
    t.strictSame(pages(tracker), [], 'and of none twice');
  }
});

test('adds to the bitmaps that it is given', { skip }, async (t) => {
  const { tracker, step } = rig(t, touching([first], [first + 1]), 'private', false);
  const dirty = tracker.emptyBitmaps();
  step();
  t.equal(tracker.collect(dirty), dirty);
  step();
  tracker.collect(dirty);
  t.equal(dirty[0]?.count, 2);
});

test('who looks often finds a page that is written time and again in each look, and not for ever', {
  skip,
}, async (t) => {
  const often = Array.from({ length: 4 }, () => [first, first + 2]);
  const { tracker, step } = rig(t, touching(...often, [first + 2], [first], []), 'private', false);
  const look = (): number[] => {
    const dirty = tracker.emptyBitmaps();
    tracker.collectOften(dirty);
    const found: number[] = [];
    dirty[0]?.forEach((page) => {
      found.push(page);
    });
    return found;
  };
  for (const written of often) {
    step();
    t.strictSame(look(), written);
  }
  t.strictSame(look(), [first, first + 2], 'they stayed writable');
  let told = 0;
  for (let looks = 0; looks < 40; looks++) told += look().length;
  t.ok(told > 0 && told <= 2 * 32, `${told} times`);
  step();
  t.strictSame(look(), [first + 2], 'and was protected again');
  step();
  t.strictSame(pages(tracker), [first], 'who looks now and then finds what was written');
  step();
  t.strictSame(pages(tracker), []);
});

test('two trackers see every page each, whoever looks first', { skip }, async (t) => {
  const { ram, collector, tracker, step } = rig(t, touching([first], [first + 1], [first + 2], []), 'private', false);
  const other = collector.track();
  step();
  ram.memory.writeU8(gpa((first + 50) * pageSize), 1);
  t.strictSame(pages(tracker), [first, first + 50]);
  step();
  t.strictSame(pages(tracker), [first + 1]);
  t.strictSame(pages(other), [first, first + 1, first + 50], 'what the first one took is there for the second');
  t.strictSame(pages(other), [], 'and once');
  step();
  t.strictSame(pages(other), [first + 2]);
  t.strictSame(pages(tracker), [first + 2]);
  other.close();
  step();
});

test('a tracker begins with all pages clean, and takes no mark from another one', { skip }, async (t) => {
  const { ram, collector, tracker, step } = rig(t, touching([first], [first + 1]), 'private', false);
  step();
  ram.memory.writeU8(gpa((first + 50) * pageSize), 1);
  const late = collector.track();
  t.strictSame(pages(late), []);
  t.strictSame(pages(tracker), [first, first + 50]);
  step();
  t.strictSame(pages(late), [first + 1]);
  late.close();
  late.close();
  ram.memory.writeU8(gpa((first + 60) * pageSize), 1);
  t.strictSame(pages(tracker), [first + 1, first + 60], 'one that is closed twice takes no other one along');
});

/** Notes for which slots KVM is told to log pages, and can have it refuse from some slot on. */
function watched(vm: Vm): { readonly told: (readonly [slot: number, logged: boolean])[]; refusesFrom: number } {
  const seen: ReturnType<typeof watched> = { told: [], refusesFrom: Number.POSITIVE_INFINITY };
  const setMemory = vm.setMemory.bind(vm);
  vm.setMemory = (slot: MemorySlot, logged = false) => {
    if (slot.slot >= seen.refusesFrom && logged) throw new Error('no more slots');
    seen.told.push([slot.slot, logged]);
    setMemory(slot, logged);
  };
  return seen;
}

test('KVM logs pages from the first tracker to the last, and is told once', { skip }, async (t) => {
  const { vm, collector, tracker } = rig(t, touching([]), 'private', false);
  const { told } = watched(vm);
  const other = collector.track();
  other.close();
  t.strictSame(told, []);
  tracker.close();
  tracker.close();
  t.strictSame(told, [[0, false]]);
  collector.track().close();
  t.strictSame(told, [
    [0, false],
    [0, true],
    [0, false],
  ]);
});

test('where pages cannot be logged there is no tracker, and one once they can', { skip }, async (t) => {
  const { vm, ram, collector, tracker } = rig(t, touching([]), 'private', false);
  tracker.close();
  const watch = watched(vm);
  watch.refusesFrom = 0;
  t.throws(() => collector.track(), { message: 'no more slots' });
  t.equal(ram.memory.tracking, false);
  watch.refusesFrom = Number.POSITIVE_INFINITY;
  const later = collector.track();
  ram.memory.writeU8(gpa(first * pageSize), 1);
  t.strictSame(pages(later), [first]);
  later.close();
});

test('where one slot of several cannot be logged, none is', { skip }, async (t) => {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const vm = owner.own(owner.own(new KvmDevice()).createVm());
  const ram = owner.own(new Ram(3 * GiB + 16 * MiB));
  for (const slot of ram.slots) vm.setMemory(slot);
  const collector = new DirtyCollector(vm, ram);
  const watch = watched(vm);
  watch.refusesFrom = 1;
  t.throws(() => collector.track(), { message: 'no more slots' });
  t.strictSame(watch.told, [
    [0, true],
    [0, false],
  ]);
});

test('RAM that was moved is not logged any more either, once the last tracker is closed', { skip }, async (t) => {
  const { vm, ram, tracker, step } = rig(t, touching([]), 'private', false);
  const code = Uint8Array.from(ram.memory.slice(gpa(0), 2 * MiB));
  const old = ram.move();
  for (const slot of ram.slots) {
    vm.setMemory({ ...slot, sizeBytes: 0 });
    vm.setMemory(slot, true);
  }
  old.close();
  ram.memory.write(gpa(0), code);
  const { told } = watched(vm);
  tracker.close();
  t.strictSame(told, [[0, false]]);
  step();
});

test('goes on for one tracker when another one is closed', { skip }, async (t) => {
  const { ram, collector, tracker, step } = rig(t, touching([first], [first + 1], []), 'private', false);
  const other = collector.track();
  step();
  tracker.collect();
  tracker.close();
  step();
  ram.memory.writeU8(gpa((first + 50) * pageSize), 1);
  t.strictSame(pages(other), [first, first + 1, first + 50]);
  other.close();
  t.equal(ram.memory.tracking, false, 'with the last one pages are not logged any more');
});

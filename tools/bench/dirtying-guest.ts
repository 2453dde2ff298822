import { bootRegisters } from '../../firmware/boot-registers.ts';
import { capability, exitReason, kvmRun } from '../../src/host/kvm/abi.ts';
import { KvmDevice } from '../../src/host/kvm/kvm-device.ts';
import { Vcpu } from '../../src/host/kvm/vcpu.ts';
import type { VcpuHandle, Vm } from '../../src/host/kvm/vm.ts';
import { type Closable, Owner } from '../../src/host/ownership.ts';
import { gpa, pageSize } from '../../src/memory/address.ts';
import type { SlottedRam } from '../../src/memory/dirty-collector.ts';
import { guestCpuid } from '../../src/vmm/vcpu/cpuid.ts';
import { setUpVcpu } from '../../src/vmm/vcpu/vcpu-setup.ts';
import { Assembler, port } from '../../test/support/assembler.ts';
import { tinyElfBase } from '../../test/support/tiny-elf.ts';

/** Where the guest finds what to do: address of the first page, number of pages, bytes from one to the next. */
const order = { first: 0x500, count: 0x504, step: 0x508 } as const;

/** First page that {@link DirtyingGuest.dirty} may name: behind the guest's own code. */
export const firstFreePage = 512;

/** A machine-code guest on the calling thread that writes to the pages it is told. */
export class DirtyingGuest implements Closable {
  readonly vm: Vm;
  readonly vcpu: VcpuHandle;
  readonly #ram: SlottedRam;
  readonly #vcpu: Vcpu;
  readonly #owner = new Owner();

  /** @param ringBytes the vCPU's dirty ring; 0: the VM has the dirty log with manual protection */
  constructor(ram: SlottedRam, ringBytes = 0) {
    this.#ram = ram;
    try {
      const kvm = this.#owner.own(new KvmDevice());
      this.vm = this.#owner.own(kvm.createVm());
      if (ringBytes > 0) this.vm.enableCapability(capability.dirtyLogRing, BigInt(ringBytes));
      else this.vm.enableCapability(capability.manualDirtyLogProtect2, 1n);
      this.vm.createIrqchip();
      for (const slot of ram.slots) this.vm.setMemory(slot);
      this.vcpu = this.vm.createVcpu(0);
      this.#vcpu = new Vcpu(this.vcpu);
      ram.memory.write(gpa(tinyElfBase), program());
      const cpuid = guestCpuid(kvm.supportedCpuid(), 0, { cpus: 1, tscDeadline: false, keepsTsc: true, mask: [] });
      setUpVcpu(
        this.#vcpu.registers,
        cpuid,
        bootRegisters({ protocol: 'pvh', entry: gpa(tinyElfBase), startInfo: gpa(0x6000) }),
      );
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** The guest adds 1 to the first word of `count` pages below 3 GiB, `step` pages from one to the next. */
  dirty(firstPage: number, count: number, step: number): void {
    this.#ram.memory.writeU32(gpa(order.first), firstPage * pageSize);
    this.#ram.memory.writeU32(gpa(order.count), count);
    this.#ram.memory.writeU32(gpa(order.step), step * pageSize);
    while (this.#vcpu.enter() === 'interrupted');
    const reason = this.#vcpu.run.getUint32(kvmRun.offsets.exit_reason, true);
    if (reason !== exitReason.io) throw new Error(`the guest left for reason ${reason}`);
  }

  close(): void {
    this.#owner.close();
  }
}

function program(): Uint8Array {
  return new Assembler()
    .label('order')
    .bytes(0x8b, 0x1d)
    .word(order.first) // MOV EBX, [first]
    .bytes(0x8b, 0x0d)
    .word(order.count) // MOV ECX, [count]
    .bytes(0x8b, 0x15)
    .word(order.step) // MOV EDX, [step]
    .label('page')
    .bytes(0x85, 0xc9) // TEST ECX, ECX
    .jumpIfZero('done')
    .bytes(0xff, 0x03) // INC [EBX]
    .bytes(0x01, 0xd3) // ADD EBX, EDX
    .bytes(0x49) // DEC ECX
    .jump('page')
    .label('done')
    .outByte(port.delay, 0)
    .jump('order')
    .assemble();
}

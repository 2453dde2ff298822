import type { EventFd } from '../events/eventfd.ts';
import { close, type Fd } from '../libc/descriptors.ts';
import { ioctl } from '../libc/ioctl.ts';
import { MAP_SHARED, mmap, munmap, PROT_READ, PROT_WRITE } from '../libc/memory.ts';
import { type Closable, Owner } from '../ownership.ts';
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_IRQCHIP,
  KVM_CREATE_PIT2,
  KVM_CREATE_VCPU,
  KVM_ENABLE_CAP,
  KVM_IOEVENTFD,
  KVM_IRQ_LINE,
  KVM_SET_IDENTITY_MAP_ADDR,
  KVM_SET_TSS_ADDR,
  KVM_SET_USER_MEMORY_REGION,
  kvmEnableCap,
  kvmIoeventfd,
  kvmIrqLevel,
  kvmPitConfig,
  kvmUserspaceMemoryRegion,
} from './abi.ts';
import type { InterruptPin } from './interrupt-edge.ts';
import { irqchipId, KVM_GET_IRQCHIP, kvmIoapicState, kvmIrqchip } from './state-abi.ts';

/** Global system interrupt: a pin of the in-kernel I/O APIC, 0 to 23. */
export type Gsi = number;

/** A vCPU as its thread receives it. */
export interface VcpuHandle {
  readonly index: number;
  readonly fd: Fd;
  readonly runAddress: number;
  readonly runBytes: number;
}

/** Part of guest memory as KVM knows it (section 4.35). */
export interface MemorySlot {
  readonly slot: number;
  readonly guestAddress: number;
  readonly sizeBytes: number;
  readonly hostAddress: number;
}

const KVM_MEM_LOG_DIRTY_PAGES = 1;

/** A virtual machine: memory slots, interrupt controllers, vCPUs. Closing it closes its vCPUs too. */
export class Vm implements Closable {
  readonly fd: Fd;
  readonly #runAreaBytes: number;
  readonly #owner = new Owner();

  constructor(fd: Fd, runAreaBytes: number) {
    this.fd = fd;
    this.#runAreaBytes = runAreaBytes;
    this.#owner.defer(() => close(fd));
  }

  check(capability: number): number {
    return ioctl(this.fd, KVM_CHECK_EXTENSION, capability, 'the VM');
  }

  enableCapability(capability: number, argument: bigint): void {
    const request = kvmEnableCap.allocate();
    request.cap = capability;
    request.args = [argument, 0n, 0n, 0n];
    ioctl(this.fd, KVM_ENABLE_CAP, request.$bytes, `capability ${capability}`);
  }

  /** Four pages below 4 GiB that KVM needs for itself on some processors. Before any vCPU. */
  reserveForKvm(identityMapAddress: number, tssAddress: number): void {
    const address = new Uint8Array(new BigUint64Array([BigInt(identityMapAddress)]).buffer);
    ioctl(this.fd, KVM_SET_IDENTITY_MAP_ADDR, address, 'the VM');
    ioctl(this.fd, KVM_SET_TSS_ADDR, tssAddress, 'the VM');
  }

  /** PICs, I/O APIC and local APICs in the kernel, GSI n wired to I/O APIC pin n. Before any vCPU. */
  createIrqchip(): void {
    ioctl(this.fd, KVM_CREATE_IRQCHIP, 0, 'the VM');
  }

  /** The i8254 in the kernel, with its speaker port 0x61. */
  createPit(): void {
    const KVM_PIT_SPEAKER_DUMMY = 1;
    const config = kvmPitConfig.allocate();
    config.flags = KVM_PIT_SPEAKER_DUMMY;
    ioctl(this.fd, KVM_CREATE_PIT2, config.$bytes, 'the VM');
  }

  /** The guest has some pin of the I/O APIC deliver its interrupts. At first all are masked. */
  get deliversInterrupts(): boolean {
    const request = kvmIrqchip.allocate();
    request.chip_id = irqchipId.ioapic;
    ioctl(this.fd, KVM_GET_IRQCHIP, request.$bytes, 'the I/O APIC');
    const masked = 1n << 16n;
    return kvmIoapicState.over(request.chip).redirtbl.some((pin) => (pin & masked) === 0n);
  }

  /** Adds a memory slot, or switches the dirty log of one that exists. */
  setMemory(slot: MemorySlot, logDirtyPages = false): void {
    const region = kvmUserspaceMemoryRegion.allocate();
    region.slot = slot.slot;
    region.flags = logDirtyPages ? KVM_MEM_LOG_DIRTY_PAGES : 0;
    region.guest_phys_addr = BigInt(slot.guestAddress);
    region.memory_size = BigInt(slot.sizeBytes);
    region.userspace_addr = BigInt(slot.hostAddress);
    ioctl(this.fd, KVM_SET_USER_MEMORY_REGION, region.$bytes, `memory slot ${slot.slot}`);
  }

  /** For another thread, which is to raise interrupts there. */
  interruptPin(gsi: Gsi): InterruptPin {
    return { vm: this.fd, gsi, request: KVM_IRQ_LINE };
  }

  /** A 4-byte write of `value` to `address` becomes a signal on the eventfd, without an exit. */
  connectNotify(eventFd: EventFd, address: number, value: number): void {
    const KVM_IOEVENTFD_FLAG_DATAMATCH = 1;
    const ioeventfd = kvmIoeventfd.allocate();
    ioeventfd.datamatch = BigInt(value);
    ioeventfd.addr = BigInt(address);
    ioeventfd.len = 4;
    ioeventfd.fd = eventFd.fd;
    ioeventfd.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
    ioctl(this.fd, KVM_IOEVENTFD, ioeventfd.$bytes, `address 0x${address.toString(16)}`);
  }

  /** Makes vCPU `index` (also its APIC id) and maps its run area. */
  createVcpu(index: number): VcpuHandle {
    const fd = ioctl(this.fd, KVM_CREATE_VCPU, index, `vcpu ${index}`) as Fd;
    this.#owner.defer(() => close(fd));
    const runBytes = this.#runAreaBytes;
    const runAddress = mmap(runBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0, `vcpu ${index}`);
    this.#owner.defer(() => munmap(runAddress, runBytes));
    return { index, fd, runAddress, runBytes };
  }

  close(): void {
    this.#owner.close();
  }
}

/** An input pin of the interrupt controllers. Usable from every thread that knows the VM's descriptor. */
export class InterruptLine {
  readonly #vm: Fd;
  readonly #gsi: Gsi;
  readonly #request = kvmIrqLevel.allocate();

  constructor(vm: Fd, gsi: Gsi) {
    this.#vm = vm;
    this.#gsi = gsi;
    this.#request.irq = gsi;
  }

  /** Holds the pin high or low (section 4.25). */
  set(high: boolean): void {
    this.#request.level = high ? 1 : 0;
    ioctl(this.#vm, KVM_IRQ_LINE, this.#request.$bytes, `GSI ${this.#gsi}`);
  }

  /** One rising edge, for interrupts that the tables declare edge-triggered. */
  pulse(): void {
    this.set(true);
    this.set(false);
  }
}

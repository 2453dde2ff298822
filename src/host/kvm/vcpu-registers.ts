import { EINVAL, ENXIO } from '../errno.ts';
import { type IoctlRequest, ioctl, tryIoctl } from '../libc/ioctl.ts';
import { viewMemory } from '../libc/memory.ts';
import type { MappingAddress } from '../mappings/mapping.ts';
import { SystemError } from '../system-error.ts';
import { KVM_GET_MSRS } from './abi.ts';
import { BasicRegisters, type Msr, MsrTable } from './basic-registers.ts';
import {
  KVM_GET_DEVICE_ATTR,
  KVM_GET_MP_STATE,
  KVM_GET_TSC_KHZ,
  KVM_KVMCLOCK_CTRL,
  KVM_SET_DEVICE_ATTR,
  KVM_SET_TSC_KHZ,
  kvmDeviceAttr,
  kvmMpState,
  mpStateRunnable,
} from './state-abi.ts';
import type { VcpuHandle } from './vm.ts';

/** Section 4.80, vCPU attribute group KVM_VCPU_TSC_CTRL. */
const tscControlGroup = 0;
const tscOffsetAttribute = 0n;

/** Intel SDM volume 3, section 11.5.1: a local APIC's register for its timer. */
const lvtTimer = 0x320;
const lvtMasked = 1 << 16;
const lvtTimerMode = 3 << 17;
const tscDeadlineMode = 2 << 17;

/**
 * All that KVM shows of a vCPU. For the thread that controls the machine, while the vCPU's own thread is parked: KVM lets
 * any thread of the process do this, and takes a little longer for it (KVM API, section 2).
 */
export class VcpuRegisters extends BasicRegisters {
  readonly #attribute = kvmDeviceAttr.allocate();
  readonly #attributeValue: BigInt64Array;

  /** @param scratch eight bytes that the kernel can be given the address of, shared by all vCPUs */
  constructor(handle: VcpuHandle, scratch: MappingAddress) {
    super(handle);
    this.#attributeValue = new BigInt64Array(viewMemory(scratch.address, 8));
    this.#attribute.group = tscControlGroup;
    this.#attribute.attr = tscOffsetAttribute;
    this.#attribute.addr = BigInt(scratch.address);
  }

  get mpState(): number {
    return this.read(KVM_GET_MP_STATE, kvmMpState).mp_state;
  }

  /** It is neither halted nor waiting to be started. */
  get isRunnable(): boolean {
    return this.mpState === mpStateRunnable;
  }

  /** Its APIC's timer follows the TSC, and can interrupt it: a deadline of 0 is one that has passed, or is about to be set. */
  get hasDeadlineTimer(): boolean {
    const { regs } = this.lapic;
    const timer = new DataView(regs.buffer, regs.byteOffset, regs.byteLength).getUint32(lvtTimer, true);
    return (timer & (lvtMasked | lvtTimerMode)) === tscDeadlineMode;
  }

  /** Frequency of the guest's TSC. */
  get tscKhz(): number {
    return ioctl(this.fd, KVM_GET_TSC_KHZ, 0, this.subject);
  }

  /** @throws SystemError where the host cannot scale */
  set tscKhz(value: number) {
    ioctl(this.fd, KVM_SET_TSC_KHZ, value, this.subject);
  }

  /** What the guest's TSC is ahead of the host's; undefined where KVM does not tell. */
  get tscOffset(): bigint | undefined {
    return this.#tryAttribute(KVM_GET_DEVICE_ATTR) ? this.#attributeValue[0] : undefined;
  }

  /** Sets {@link tscOffset}; false where KVM has no such thing. */
  setTscOffset(value: bigint): boolean {
    this.#attributeValue[0] = value;
    return this.#tryAttribute(KVM_SET_DEVICE_ATTR);
  }

  /** Reads MSRs in one call if all are known; those that KVM does not know for this vCPU are left out. */
  readMsrs(indices: readonly number[]): Msr[] {
    const read: Msr[] = [];
    for (let first = 0; first < indices.length; ) {
      const table = new MsrTable(indices.length - first);
      for (let row = 0; row < table.rows; row++) table.setIndex(row, indices[first + row] as number);
      const done = ioctl(this.fd, KVM_GET_MSRS, table.bytes, this.subject);
      for (let row = 0; row < done; row++)
        read.push({ index: indices[first + row] as number, value: table.value(row) });
      // KVM stops at the first one that it does not know; go on behind it.
      first += done + 1;
    }
    return read;
  }

  /** Tells the guest's watchdog, if it looks at kvmclock, that it was paused for a while (section 4.70). */
  noteStopped(): void {
    const result = tryIoctl(this.fd, KVM_KVMCLOCK_CTRL, 0);
    // EINVAL: the guest has no kvmclock on.
    if (result < 0 && result !== -EINVAL) throw new SystemError('KVM_KVMCLOCK_CTRL', -result, this.subject);
  }

  #tryAttribute(request: IoctlRequest): boolean {
    const result = tryIoctl(this.fd, request, this.#attribute.$bytes);
    if (result >= 0) return true;
    // ENXIO: no such attribute; EINVAL: no attributes at all.
    if (result === -ENXIO || result === -EINVAL) return false;
    throw new SystemError(request.name, -result, this.subject);
  }
}

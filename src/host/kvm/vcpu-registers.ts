import { EINVAL, ENXIO } from '../errno.ts';
import { fromPlain, type Plain, toPlain, type ViewOf } from '../layout.ts';
import { type IoctlRequest, ioctl, tryIoctl, viewMemory } from '../libc.ts';
import type { MappingAddress } from '../mapping.ts';
import { SystemError } from '../system-error.ts';
import { KVM_GET_MSRS, kvmCpuid2, kvmCpuidEntry2 } from './abi.ts';
import { BasicRegisters, type Msr, MsrTable } from './basic-registers.ts';
import {
  KVM_GET_CPUID2,
  KVM_GET_DEBUGREGS,
  KVM_GET_DEVICE_ATTR,
  KVM_GET_MP_STATE,
  KVM_GET_TSC_KHZ,
  KVM_GET_VCPU_EVENTS,
  KVM_GET_XCRS,
  KVM_GET_XSAVE,
  KVM_GET_XSAVE2,
  KVM_KVMCLOCK_CTRL,
  KVM_SET_DEBUGREGS,
  KVM_SET_DEVICE_ATTR,
  KVM_SET_MP_STATE,
  KVM_SET_TSC_KHZ,
  KVM_SET_VCPU_EVENTS,
  KVM_SET_XCRS,
  KVM_SET_XSAVE,
  kvmDebugregs,
  kvmDeviceAttr,
  kvmMpState,
  kvmVcpuEvents,
  kvmXcrs,
  kvmXsave,
  mpStateRunnable,
} from './state-abi.ts';
import type { VcpuHandle } from './vm.ts';

/** One answer of the CPUID instruction. */
export type CpuidRow = Plain<ViewOf<typeof kvmCpuidEntry2>>;

/** Section 4.80, vCPU attribute group KVM_VCPU_TSC_CTRL. */
const tscControlGroup = 0;
const tscOffsetAttribute = 0n;
/** More rows than any CPUID table has. */
const mostCpuidEntries = 256;

/**
 * All that KVM shows of a vCPU. For the thread that controls the machine, while the vCPU's own thread is parked: KVM lets
 * any thread of the process do this, and takes a little longer for it (KVM API, section 2).
 */
export class VcpuRegisters extends BasicRegisters {
  readonly #xsaveBytes: number;
  readonly #attribute = kvmDeviceAttr.allocate();
  readonly #attributeValue: BigInt64Array;
  /** What {@link cpuid} said last, and the bytes that it was made of. */
  #cpuid: { readonly bytes: Uint8Array; readonly rows: readonly CpuidRow[] } | undefined;

  /**
   * @param xsaveBytes what KVM_CAP_XSAVE2 says; 0 where there is no such thing
   * @param scratch eight bytes that the kernel can be given the address of, shared by all vCPUs
   */
  constructor(handle: VcpuHandle, { xsaveBytes, scratch }: { xsaveBytes: number; scratch: MappingAddress }) {
    super(handle);
    this.#xsaveBytes = xsaveBytes;
    this.#attributeValue = new BigInt64Array(viewMemory(scratch.address, 8));
    this.#attribute.group = tscControlGroup;
    this.#attribute.attr = tscOffsetAttribute;
    this.#attribute.addr = BigInt(scratch.address);
  }

  get mpState(): number {
    return this.read(KVM_GET_MP_STATE, kvmMpState).mp_state;
  }

  set mpState(value: number) {
    const state = kvmMpState.allocate();
    state.mp_state = value;
    this.write(KVM_SET_MP_STATE, state.$bytes);
  }

  /** It is neither halted nor waiting to be started. */
  get isRunnable(): boolean {
    return this.mpState === mpStateRunnable;
  }

  /** FPU, SSE, AVX and further, as XSAVE would store it in the standard format. */
  get xsave(): Uint8Array {
    const large = this.#xsaveBytes > kvmXsave.size;
    const bytes = new Uint8Array(large ? this.#xsaveBytes : kvmXsave.size);
    ioctl(this.fd, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, bytes, this.subject);
    return bytes;
  }

  set xsave(value: Uint8Array) {
    this.write(KVM_SET_XSAVE, value);
  }

  /** Bytes of {@link xsave}. */
  get xsaveBytes(): number {
    return Math.max(this.#xsaveBytes, kvmXsave.size);
  }

  get xcrs(): ViewOf<typeof kvmXcrs> {
    return this.read(KVM_GET_XCRS, kvmXcrs);
  }

  set xcrs(value: ViewOf<typeof kvmXcrs>) {
    this.write(KVM_SET_XCRS, value.$bytes);
  }

  get debugRegs(): ViewOf<typeof kvmDebugregs> {
    return this.read(KVM_GET_DEBUGREGS, kvmDebugregs);
  }

  set debugRegs(value: ViewOf<typeof kvmDebugregs>) {
    this.write(KVM_SET_DEBUGREGS, value.$bytes);
  }

  get events(): ViewOf<typeof kvmVcpuEvents> {
    return this.read(KVM_GET_VCPU_EVENTS, kvmVcpuEvents);
  }

  set events(value: ViewOf<typeof kvmVcpuEvents>) {
    this.write(KVM_SET_VCPU_EVENTS, value.$bytes);
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

  /**
   * What the CPUID instruction tells. The same array as before if nothing has changed: it hardly ever does, and reading
   * the table anew takes longer than all other registers.
   */
  get cpuid(): readonly CpuidRow[] {
    const table = kvmCpuid2.allocate(mostCpuidEntries * kvmCpuidEntry2.size);
    table.nent = mostCpuidEntries;
    ioctl(this.fd, KVM_GET_CPUID2, table.$bytes, this.subject);
    const rows = table.$bytes.subarray(kvmCpuid2.size, kvmCpuid2.size + table.nent * kvmCpuidEntry2.size);
    if (this.#cpuid === undefined || Buffer.compare(this.#cpuid.bytes, rows) !== 0) {
      this.#cpuid = {
        bytes: rows,
        rows: Array.from({ length: table.nent }, (_, row) =>
          toPlain(kvmCpuidEntry2, kvmCpuidEntry2.over(rows, row * kvmCpuidEntry2.size)),
        ),
      };
    }
    return this.#cpuid.rows;
  }

  set cpuid(rows: readonly CpuidRow[]) {
    this.writeCpuid(rows.map((row) => fromPlain(kvmCpuidEntry2, row).$bytes));
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

  /** Tells the guest's watchdog, if it looks at kvmclock, that it stood still for a while (section 4.70). */
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

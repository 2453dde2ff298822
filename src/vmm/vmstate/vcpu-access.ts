import { VmStateError } from '../../devices/vm-state-error.ts';
import { kvmCpuidEntry2, kvmMsrEntry, kvmMsrs } from '../../host/kvm/abi.ts';
import { VcpuIoctls, type VcpuPart } from '../../host/kvm/vcpu-image.ts';
import type { VcpuHandle } from '../../host/kvm/vm.ts';
import { addressOf } from '../../host/libc/memory.ts';
import { msr } from './msrs.ts';
import type { StateImage } from './state-image.ts';

/** How vCPUs are saved on this host. */
export interface VcpuSupport {
  readonly msrs: readonly number[];
  readonly xcrs: boolean;
  /** KVM_CAP_XSAVE2 says that there is more than struct kvm_xsave. */
  readonly xsave2: boolean;
}

/**
 * Moves a vCPU's state between KVM and images. Its thread is parked, for then no access is half done. Hot path: nothing is
 * allocated unless something is refused.
 */
export class VcpuAccess {
  readonly #vcpu: number;
  readonly #ioctls: VcpuIoctls;
  readonly #support: VcpuSupport;
  /** A table of MSRs to write, and the one that disarms the timer. */
  readonly #table: DataView;
  readonly #tableBytes: Uint8Array;
  readonly #tableAddress: number;

  /** @param mostMsrs rows of the longest table that is ever written */
  constructor(handle: VcpuHandle, support: VcpuSupport, mostMsrs: number) {
    this.#vcpu = handle.index;
    this.#ioctls = new VcpuIoctls(handle, support.xsave2);
    this.#support = support;
    this.#tableBytes = new Uint8Array(new SharedArrayBuffer(kvmMsrs.size + mostMsrs * kvmMsrEntry.size));
    this.#table = new DataView(this.#tableBytes.buffer);
    this.#tableAddress = addressOf(this.#tableBytes);
  }

  /** Says which MSRs an image is to have. KVM may know fewer, which depends on CPUID. */
  prepare(image: StateImage): void {
    const { msrs } = this.#support;
    image.setRows(this.#vcpu, 'msrs', msrs.length);
    msrs.forEach((index, row) => {
      image.setMsr(this.#vcpu, row, index, 0n);
    });
    image.setRows(this.#vcpu, 'cpuid', 0);
    image.setDeadline(this.#vcpu, msr.tscDeadline, 0n);
    image.hasXcrs = this.#support.xcrs;
  }

  /**
   * Reads what devices cannot change: while the io thread is not parked yet, but all vCPUs are.
   *
   * The order matters:
   * - The deadline first. A timer that fires while the rest is read is then saved as armed, and fires once too often; read
   *   last, it would be saved as fired with an APIC that does not know of it, and be lost.
   * - MP_STATE before all other registers: reading it may let pending APIC events happen.
   */
  readRegisters(image: StateImage): void {
    this.#read('deadline', image);
    this.#read('mpState', image);
    this.#read('regs', image);
    this.#read('sregs', image);
    this.#read('xsave', image);
    if (this.#support.xcrs) this.#read('xcrs', image);
    this.#read('debugRegs', image);
    this.#readMsrs(image);
  }

  /** Reads what an interrupt changes, once nothing raises one any more. The events last: all else may still raise one. */
  readInterrupts(image: StateImage): void {
    this.#read('lapic', image);
    this.#read('events', image);
  }

  /**
   * Reads what the CPUID instruction tells. It is set before a vCPU first runs; what of it follows other registers KVM sets
   * anew when those are loaded.
   */
  readCpuid(image: StateImage): void {
    image.setRows(this.#vcpu, 'cpuid', image.shape.cpuidRows);
    this.#read('cpuid', image);
  }

  /**
   * Writes a vCPU's state, but for the TSC and the deadline, which depends on it: see MachineClocks.
   *
   * The order matters:
   * - CPUID before all else: it says which registers there are. It can be set only before a vCPU first runs (section 4.20).
   * - The old deadline is taken back before the APIC is loaded, which would arm it again.
   * - SREGS before LAPIC, for it holds the APIC's address and mode; LAPIC before the MSRs.
   * - XCRS before XSAVE, for it says which parts of it are in use.
   * - REGS before the events: setting it drops a pending exception.
   *
   * @param isNew the vCPU has never run
   * @param before all that the vCPU is in, if that is known: what is the same is not written
   * @throws VmStateError that names what this host refuses
   */
  load(next: StateImage, isNew: boolean, before: StateImage | undefined): void {
    if (before !== undefined && !isSameProcessor(before, next, this.#vcpu)) {
      throw new VmStateError('cpuid', 'is that of a processor with other features than the one here');
    }
    if (isNew) this.#write('cpuid', next);
    else if (before?.deadline(this.#vcpu) !== 0n) this.#disarm();
    const known = before !== undefined && before.bytes.length === next.bytes.length ? before : undefined;
    this.#write('mpState', next);
    this.#write('regs', next);
    this.#writeChanged('sregs', next, known);
    if (next.hasXcrs) this.#writeChanged('xcrs', next, known);
    this.#write('xsave', next);
    this.#writeChanged('debugRegs', next, known);
    this.#write('lapic', next);
    this.#writeMsrs(next, known);
    this.#write('events', next);
  }

  #read(part: VcpuPart, image: StateImage): number {
    return this.#ioctls.read(part, image.addressAt(image.vcpuOffset(this.#vcpu, part)));
  }

  /** KVM stops at each MSR that it does not know: left out from then on, so that the next time takes one call. */
  #readMsrs(image: StateImage): void {
    for (;;) {
      const rows = image.rows(this.#vcpu, 'msrs');
      const known = this.#read('msrs', image);
      if (known >= rows) return;
      const unknown = image.msrOffset(this.#vcpu, known);
      image.bytes.copyWithin(unknown, unknown + kvmMsrEntry.size, image.msrOffset(this.#vcpu, rows));
      image.setRows(this.#vcpu, 'msrs', rows - 1);
    }
  }

  #write(part: VcpuPart, image: StateImage): void {
    try {
      this.#ioctls.write(part, image.addressAt(image.vcpuOffset(this.#vcpu, part)));
    } catch (error) {
      throw new VmStateError(part, `is refused by this host's KVM: ${error instanceof Error ? error.message : error}`);
    }
  }

  #writeChanged(part: VcpuPart, next: StateImage, known: StateImage | undefined): void {
    if (known === undefined || !next.vcpuPartEquals(this.#vcpu, part, known)) this.#write(part, next);
  }

  #disarm(): void {
    this.#table.setUint32(kvmMsrs.size + kvmMsrEntry.offsets.index, msr.tscDeadline, true);
    this.#table.setUint32(kvmMsrs.size + kvmMsrEntry.offsets.data, 0, true);
    this.#table.setUint32(kvmMsrs.size + kvmMsrEntry.offsets.data + 4, 0, true);
    this.#table.setUint32(kvmMsrs.offsets.nmsrs, 1, true);
    this.#ioctls.write('msrs', this.#tableAddress);
  }

  #writeMsrs(next: StateImage, known: StateImage | undefined): void {
    const rows = next.rows(this.#vcpu, 'msrs');
    let count = 0;
    for (let row = 0; row < rows; row++) {
      if (known !== undefined && this.#isSameMsr(next, known, row)) continue;
      const from = next.msrOffset(this.#vcpu, row);
      const to = rowOffset(count++);
      for (let at = 0; at < kvmMsrEntry.size; at += 4) {
        this.#table.setUint32(to + at, next.view.getUint32(from + at, true), true);
      }
    }
    const refused: string[] = [];
    while (count > 0) {
      this.#table.setUint32(kvmMsrs.offsets.nmsrs, count, true);
      const done = this.#ioctls.write('msrs', this.#tableAddress);
      if (done >= count) break;
      const index = this.#table.getUint32(rowOffset(done) + kvmMsrEntry.offsets.index, true);
      const value = this.#table.getBigUint64(rowOffset(done) + kvmMsrEntry.offsets.data, true);
      // One that does not exist here and was never used there.
      if (value !== 0n) refused.push(`0x${index.toString(16)} = 0x${value.toString(16)}`);
      this.#tableBytes.copyWithin(rowOffset(0), rowOffset(done + 1), rowOffset(count));
      count -= done + 1;
    }
    if (refused.length > 0) {
      throw new VmStateError('msrs', `are refused by this host's KVM: ${refused.join(', ')}`);
    }
  }

  /** A row whose index and value stand in the same place of both. */
  #isSameMsr(next: StateImage, known: StateImage, row: number): boolean {
    const offset = next.msrOffset(this.#vcpu, row);
    const data = offset + kvmMsrEntry.offsets.data;
    return (
      row < known.rows(this.#vcpu, 'msrs') &&
      next.view.getUint32(offset, true) === known.view.getUint32(offset, true) &&
      next.view.getUint32(data, true) === known.view.getUint32(data, true) &&
      next.view.getUint32(data + 4, true) === known.view.getUint32(data + 4, true)
    );
  }
}

function rowOffset(row: number): number {
  return kvmMsrs.size + row * kvmMsrEntry.size;
}

/** Bits that follow other registers, by leaf: whether the APIC is on, OSXSAVE, MWAIT, OSPKE; the size of what XSAVE stores. */
const followingBits: Readonly<Record<number, Partial<Record<'ebx' | 'ecx' | 'edx', number>>>> = {
  1: { ecx: (1 << 27) | (1 << 3), edx: 1 << 9 },
  7: { ecx: 1 << 4 },
  13: { ebx: -1 },
};
const nothingFollows: Partial<Record<'ebx' | 'ecx' | 'edx', number>> = {};

function isSameProcessor(here: StateImage, there: StateImage, vcpu: number): boolean {
  const rows = here.rows(vcpu, 'cpuid');
  if (there.rows(vcpu, 'cpuid') !== rows) return false;
  for (let row = 0; row < rows; row++) if (!isSameRow(here, there, vcpu, row)) return false;
  return true;
}

function isSameRow(here: StateImage, there: StateImage, vcpu: number, row: number): boolean {
  const { offsets } = kvmCpuidEntry2;
  const [at, other] = [here.cpuidOffset(vcpu, row), there.cpuidOffset(vcpu, row)];
  const following = followingBits[here.view.getUint32(at + offsets.function, true)] ?? nothingFollows;
  const difference = (offset: number): number =>
    here.view.getInt32(at + offset, true) ^ there.view.getInt32(other + offset, true);
  return (
    difference(offsets.function) === 0 &&
    difference(offsets.index) === 0 &&
    difference(offsets.eax) === 0 &&
    (difference(offsets.ebx) & ~(following.ebx ?? 0)) === 0 &&
    (difference(offsets.ecx) & ~(following.ecx ?? 0)) === 0 &&
    (difference(offsets.edx) & ~(following.edx ?? 0)) === 0
  );
}

import { VmStateError } from '../../devices/vm-state-error.ts';
import { kvmCpuid2, kvmCpuidEntry2, kvmMsrEntry, kvmMsrs } from '../../host/kvm/abi.ts';
import { irqchipId, kvmIrqchip, kvmPitState2 } from '../../host/kvm/state-abi.ts';
import { layOutVcpu, type VcpuImageLayout, type VcpuImageShape, type VcpuPart } from '../../host/kvm/vcpu-image.ts';
import type { VmPart } from '../../host/kvm/vm-registers.ts';
import { struct, u32, u64 } from '../../host/layout.ts';
import { addressOf } from '../../host/libc/memory.ts';
import { maxCpus } from '../config/config.ts';
import type { ClockState } from './clock-state.ts';

/** What the length of an image depends on. */
export interface ImageShape extends VcpuImageShape {
  readonly cpus: number;
}

/** What stands in front; all numbers little-endian, as everything that KVM has. */
const header = struct('state_image', {
  magic: u32,
  version: u32,
  sizeBytes: u32,
  cpus: u32,
  msrRows: u32,
  cpuidRows: u32,
  xsaveBytes: u32,
  /** 1: the host has XSAVE, and `xcrs` is valid. */
  hasXcrs: u32,
  memoryBytes: u64,
  kvmclockNs: u64,
  realtimeNs: u64,
  tscKhz: u32,
  reserved: u32,
});

const magic = 0x4f4c_4f43; // COLO
const version = 1;

/** Limits of what a stranger's image may claim: see machine-state-schema.ts. */
const most = { msrRows: 1024, cpuidRows: 256, xsaveBytes: 65_536 } as const;

const chipIds = [irqchipId.picMaster, irqchipId.picSlave, irqchipId.ioapic] as const;

const chipNames = ['picMaster', 'picSlave', 'ioapic'] as const;
const chipAt = (index: number): number => header.size + index * kvmIrqchip.size;
const pitAt = chipAt(chipIds.length);
const tscAt = Math.ceil((pitAt + kvmPitState2.size) / 8) * 8;
const vmOffsets: Readonly<Record<VmPart, number>> = {
  picMaster: chipAt(0),
  picSlave: chipAt(1),
  ioapic: chipAt(2),
  pit: pitAt,
};
const vmSizes: Readonly<Record<VmPart, number>> = {
  picMaster: kvmIrqchip.size,
  picSlave: kvmIrqchip.size,
  ioapic: kvmIrqchip.size,
  pit: kvmPitState2.size,
};

/**
 * What KVM keeps of a machine, as KVM's own structs in one stretch of shared memory: what a checkpoint reads while the guest
 * is paused, and what travels. An object of named fields (MachineState) is made of it, or it of one, before or after.
 *
 *     header  picMaster  picSlave  ioapic  pit  TSC of each vCPU  vCPU 0  vCPU 1 ...      (see VcpuImageLayout)
 *
 * Pages of one image may be read by every thread that gets {@link storage}; one thread fills it.
 */
export class StateImage {
  readonly shape: ImageShape;
  readonly storage: SharedArrayBuffer;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly view: DataView<SharedArrayBuffer>;
  readonly #layout: VcpuImageLayout;
  readonly #firstVcpu: number;
  readonly #address: number;
  readonly #words: Int32Array<SharedArrayBuffer>;

  /** An image with nothing in it yet but its shape. */
  constructor(shape: ImageShape) {
    this.shape = shape;
    this.#layout = layOutVcpu(shape);
    this.#firstVcpu = tscAt + shape.cpus * 8;
    const sizeBytes = this.#firstVcpu + shape.cpus * this.#layout.bytes;
    this.storage = new SharedArrayBuffer(sizeBytes);
    this.bytes = new Uint8Array(this.storage);
    this.view = new DataView(this.storage);
    this.#words = new Int32Array(this.storage);
    this.#address = addressOf(this.bytes);
    const head = header.over(this.view);
    Object.assign(head, { magic, version, sizeBytes, ...shape });
    chipIds.forEach((id, index) => {
      this.view.setUint32(chipAt(index) + kvmIrqchip.offsets.chip_id, id, true);
    });
    for (let vcpu = 0; vcpu < shape.cpus; vcpu++) {
      this.view.setUint32(this.vcpuOffset(vcpu, 'deadline') + kvmMsrs.offsets.nmsrs, 1, true);
    }
  }

  get memoryBytes(): number {
    return Number(this.view.getBigUint64(header.offsets.memoryBytes, true));
  }

  set memoryBytes(value: number) {
    this.view.setBigUint64(header.offsets.memoryBytes, BigInt(value), true);
  }

  get hasXcrs(): boolean {
    return this.view.getUint32(header.offsets.hasXcrs, true) === 1;
  }

  set hasXcrs(value: boolean) {
    this.view.setUint32(header.offsets.hasXcrs, value ? 1 : 0, true);
  }

  /** What time it is for the guest. */
  get clock(): ClockState {
    const { view } = this;
    return {
      kvmclockNs: view.getBigUint64(header.offsets.kvmclockNs, true),
      realtimeNs: view.getBigUint64(header.offsets.realtimeNs, true),
      tscKhz: view.getUint32(header.offsets.tscKhz, true),
      tsc: Array.from({ length: this.shape.cpus }, (_, vcpu) => view.getBigUint64(tscAt + vcpu * 8, true)),
    };
  }

  set clock({ kvmclockNs, realtimeNs, tscKhz, tsc }: ClockState) {
    const { view } = this;
    view.setBigUint64(header.offsets.kvmclockNs, kvmclockNs, true);
    view.setBigUint64(header.offsets.realtimeNs, realtimeNs, true);
    view.setUint32(header.offsets.tscKhz, tscKhz, true);
    for (let vcpu = 0; vcpu < this.shape.cpus; vcpu++) view.setBigUint64(tscAt + vcpu * 8, tsc[vcpu] ?? 0n, true);
  }

  vmOffset(part: VmPart): number {
    return vmOffsets[part];
  }

  vcpuOffset(vcpu: number, part: VcpuPart): number {
    return this.#firstVcpu + vcpu * this.#layout.bytes + this.#layout.offsets[part];
  }

  /** Where a part lies in this process, for ioctls. Valid as long as the image is held. */
  addressAt(offset: number): number {
    return this.#address + offset;
  }

  vmBytes(part: VmPart): Uint8Array {
    return this.bytes.subarray(vmOffsets[part], vmOffsets[part] + vmSizes[part]);
  }

  vcpuBytes(vcpu: number, part: VcpuPart): Uint8Array {
    const offset = this.vcpuOffset(vcpu, part);
    return this.bytes.subarray(offset, offset + this.#layout.sizes[part]);
  }

  /** A part has the same bytes in an image of the same shape. Hot path. */
  vmPartEquals(part: VmPart, other: StateImage): boolean {
    return this.#equals(vmOffsets[part], vmSizes[part], other);
  }

  /** As {@link vmPartEquals}. */
  vcpuPartEquals(vcpu: number, part: VcpuPart, other: StateImage): boolean {
    return this.#equals(this.vcpuOffset(vcpu, part), this.#layout.sizes[part], other);
  }

  /** Rows of a vCPU's table that are in use. */
  rows(vcpu: number, part: 'msrs' | 'cpuid'): number {
    return this.view.getUint32(this.vcpuOffset(vcpu, part), true);
  }

  setRows(vcpu: number, part: 'msrs' | 'cpuid', count: number): void {
    this.view.setUint32(this.vcpuOffset(vcpu, part), count, true);
  }

  /** Where a row of the table of MSRs begins. */
  msrOffset(vcpu: number, row: number): number {
    return this.vcpuOffset(vcpu, 'msrs') + kvmMsrs.size + row * kvmMsrEntry.size;
  }

  msrIndex(vcpu: number, row: number): number {
    return this.view.getUint32(this.msrOffset(vcpu, row) + kvmMsrEntry.offsets.index, true);
  }

  msrValue(vcpu: number, row: number): bigint {
    return this.view.getBigUint64(this.msrOffset(vcpu, row) + kvmMsrEntry.offsets.data, true);
  }

  setMsr(vcpu: number, row: number, index: number, value: bigint): void {
    const offset = this.msrOffset(vcpu, row);
    this.view.setUint32(offset + kvmMsrEntry.offsets.index, index, true);
    this.view.setBigUint64(offset + kvmMsrEntry.offsets.data, value, true);
  }

  cpuidOffset(vcpu: number, row: number): number {
    return this.vcpuOffset(vcpu, 'cpuid') + kvmCpuid2.size + row * kvmCpuidEntry2.size;
  }

  cpuidRow(vcpu: number, row: number): Uint8Array {
    const offset = this.cpuidOffset(vcpu, row);
    return this.bytes.subarray(offset, offset + kvmCpuidEntry2.size);
  }

  get deadlines(): bigint[] {
    return Array.from({ length: this.shape.cpus }, (_, vcpu) => this.deadline(vcpu));
  }

  /** Guest TSC at which a vCPU's timer fires; 0: not armed. */
  deadline(vcpu: number): bigint {
    return this.view.getBigUint64(this.#deadlineOffset(vcpu) + kvmMsrEntry.offsets.data, true);
  }

  setDeadline(vcpu: number, index: number, value: bigint): void {
    const offset = this.#deadlineOffset(vcpu);
    this.view.setUint32(offset + kvmMsrEntry.offsets.index, index, true);
    this.view.setBigUint64(offset + kvmMsrEntry.offsets.data, value, true);
  }

  /**
   * An image that came from outside, copied, as cheaply as a checkpoint needs it: sizes, versions and counts, which is all
   * that this process relies on. What the values are good for KVM says, and the machine that they are loaded into.
   *
   * @throws VmStateError
   */
  static from(bytes: Uint8Array): StateImage {
    const wrong = (reason: string): VmStateError => new VmStateError('image', reason);
    if (bytes.length < header.size) throw wrong(`has ${bytes.length} bytes, and its header alone ${header.size}`);
    const head = header.over(bytes);
    if (head.magic !== magic) throw wrong('is none of a machine');
    if (head.version !== version) throw wrong(`is of version ${head.version}, and this colo-vmm knows ${version}`);
    const { cpus, msrRows, cpuidRows, xsaveBytes } = head;
    if (cpus < 1 || cpus > maxCpus) throw wrong(`has ${cpus} vCPUs`);
    for (const [name, value] of Object.entries({ msrRows, cpuidRows, xsaveBytes })) {
      if (value > most[name as keyof typeof most]) throw wrong(`has ${name} of ${value}`);
    }
    if (head.hasXcrs > 1) throw wrong(`has hasXcrs of ${head.hasXcrs}`);
    const image = new StateImage({ cpus, msrRows, cpuidRows, xsaveBytes });
    image.set(bytes);
    return image;
  }

  /**
   * Takes over what another image of the same shape has, which came from outside. No allocation.
   *
   * @throws VmStateError and nothing has changed
   */
  set(bytes: Uint8Array): void {
    if (bytes.length !== this.bytes.length) {
      throw new VmStateError('image', `has ${bytes.length} bytes and must have ${this.bytes.length}`);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < header.offsets.hasXcrs; at += 4) {
      if (view.getUint32(at, true) !== this.view.getUint32(at, true)) {
        throw new VmStateError('image', 'is of another shape');
      }
    }
    for (let index = 0; index < chipIds.length; index++) {
      if (view.getUint32(chipAt(index), true) !== chipIds[index]) {
        throw new VmStateError(chipNames[index] as string, 'is another interrupt controller');
      }
    }
    for (let vcpu = 0; vcpu < this.shape.cpus; vcpu++) {
      this.#checkRows(view, vcpu, 'msrs', this.shape.msrRows);
      this.#checkRows(view, vcpu, 'cpuid', this.shape.cpuidRows);
      if (view.getUint32(this.vcpuOffset(vcpu, 'deadline'), true) !== 1) {
        throw new VmStateError(`vcpus[${vcpu}].tscDeadline`, 'is not one');
      }
    }
    this.bytes.set(bytes);
  }

  #checkRows(view: DataView, vcpu: number, part: 'msrs' | 'cpuid', room: number): void {
    const count = view.getUint32(this.vcpuOffset(vcpu, part), true);
    if (count > room) throw new VmStateError(`vcpus[${vcpu}].${part}`, `are ${count}, and there is room for ${room}`);
  }

  #deadlineOffset(vcpu: number): number {
    return this.vcpuOffset(vcpu, 'deadline') + kvmMsrs.size;
  }

  #equals(offset: number, length: number, other: StateImage): boolean {
    const here = this.#words;
    const there = other.#words;
    // Parts begin at multiples of 8, and what lies between them is zero.
    for (let word = offset >> 2; word < (offset + length + 3) >> 2; word++) {
      if (here[word] !== there[word]) return false;
    }
    return true;
  }
}

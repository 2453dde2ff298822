import * as abi from '../../src/host/kvm/abi.ts';
import * as stateAbi from '../../src/host/kvm/state-abi.ts';
import { type Fields, type Plain, type Struct, type StructView, toPlain } from '../../src/host/layout.ts';
import { GiB, gpa, pageSize } from '../../src/memory/address.ts';
import { DirtyBitmap } from '../../src/memory/dirty-bitmap.ts';
import { bufferedGuestMemory, type GuestMemory } from '../../src/memory/guest-memory.ts';
import type { RunState } from '../../src/vmm/machine/run-state.ts';
import type { PageTracker } from '../../src/vmm/snapshot/snapshot-chain.ts';
import { Snapshot } from '../../src/vmm/snapshot/snapshot-file.ts';
import type { SnapshotConfig } from '../../src/vmm/snapshot/snapshot-tail.ts';
import type { SnapshotMachine } from '../../src/vmm/snapshot/snapshotter.ts';
import type { MachineState } from '../../src/vmm/vmstate/machine-state.ts';

function zeros<F extends Fields>(layout: Struct<F>): Plain<StructView<F>> {
  return toPlain(layout, layout.allocate());
}

/** A state that is well formed, of a machine that no KVM would run. */
export function emptyMachineState(memoryBytes: number): MachineState {
  return {
    version: 1,
    memoryBytes,
    vcpus: [
      {
        mpState: 0,
        regs: zeros(abi.kvmRegs),
        sregs: zeros(abi.kvmSregs),
        xsave: new Uint8Array(4096),
        xcrs: null,
        debugRegs: zeros(stateAbi.kvmDebugregs),
        lapic: new Uint8Array(abi.kvmLapicState.size),
        msrs: [{ index: 0x277, value: 0x0007_0406_0007_0406n }],
        tscDeadline: 0n,
        cpuid: [],
        events: zeros(stateAbi.kvmVcpuEvents),
      },
    ],
    vm: {
      picMaster: zeros(stateAbi.kvmPicState),
      picSlave: zeros(stateAbi.kvmPicState),
      ioapic: zeros(stateAbi.kvmIoapicState),
      pit: zeros(stateAbi.kvmPitState2),
    },
    clock: { kvmclockNs: 5n, realtimeNs: 6n, tscKhz: 1000, tsc: [7n] },
    serial: {
      version: 1,
      interruptEnable: 0,
      lineControl: 3,
      modemControl: 0,
      scratch: 0,
      divisorLow: 1,
      divisorHigh: 0,
      fifoEnabled: false,
      transmitterEmpty: true,
      overrun: false,
      interruptLevel: false,
      received: new Uint8Array(0),
      sent: new Uint8Array(0),
    },
    devices: [],
  };
}

export const emptyConfig: SnapshotConfig = { cpus: 1, disk: [], net: [], rng: { kind: 'none' } };

/** RAM of so many pages below the 32-bit hole and, if any, above it. */
export function pagesOfRam(low: number, high = 0): GuestMemory {
  const regions = [{ start: gpa(0), sizeBytes: low * pageSize, offset: 0 }];
  if (high > 0) regions.push({ start: gpa(4 * GiB), sizeBytes: high * pageSize, offset: low * pageSize });
  return bufferedGuestMemory(regions);
}

/** Fills pages, counted without the hole, with bytes that differ from page to page; 0: with zeros. */
export function fill(memory: GuestMemory, firstPage: number, pages: number, seed: number): void {
  for (let page = firstPage; page < firstPage + pages; page++) {
    const region = memory.regions.findLast(({ offset }) => offset <= page * pageSize);
    if (region === undefined) throw new RangeError(`there is no page ${page}`);
    const bytes = new Uint8Array(pageSize);
    if (seed !== 0) for (let at = 0; at < pageSize; at++) bytes[at] = (at * 7 + page * 13 + seed) & 0xff;
    memory.write(gpa(region.start + page * pageSize - region.offset), bytes);
  }
}

/** All of RAM, without the hole. */
export function bytesOf(memory: GuestMemory): Buffer {
  return Buffer.concat(memory.regions.map(({ start, sizeBytes }) => memory.slice(start, sizeBytes)));
}

/** RAM of the snapshot in a file. */
export function ramIn(path: string): Buffer {
  const snapshot = new Snapshot(path);
  try {
    const ram = snapshot.mapRam();
    try {
      return bytesOf(ram.memory);
    } finally {
      ram.close();
    }
  } finally {
    snapshot.close();
  }
}

/** A machine without a guest, for its snapshots: whoever writes its RAM is the guest. */
export class SnapshotRig implements SnapshotMachine {
  state: RunState = 'running';
  timesResumed = 0;
  readonly ram: { readonly memory: GuestMemory };
  readonly calls: string[] = [];
  /** How often its disks were settled, while it was paused; and what they say to that. */
  settled = 0;
  onSettle: () => void = () => {};
  /** Trackers that were not closed. */
  trackers = 0;
  /** What the guest does right before it stands still for a snapshot. */
  beforeStill: () => void = () => {};
  /** What happens when the state is read. */
  onSave: () => void = () => {};

  constructor(memory: GuestMemory) {
    this.ram = { memory };
  }

  trackDirtyPages(): PageTracker {
    const { memory } = this.ram;
    this.trackers++;
    memory.tracking = true;
    return {
      emptyBitmaps: () => memory.regions.map(({ sizeBytes }) => new DirtyBitmap(sizeBytes / pageSize)),
      collect: (dirty) => {
        for (const [index, region] of memory.regions.entries()) region.written.drainInto(dirty[index] as DirtyBitmap);
        return dirty;
      },
      close: () => {
        this.trackers--;
        memory.tracking = false;
      },
    };
  }

  whilePaused<T>(body: () => T): T {
    if (this.state === 'running') this.beforeStill();
    this.calls.push('still');
    return body();
  }

  save(): MachineState {
    this.onSave();
    return emptyMachineState(this.ram.memory.sizeBytes);
  }

  pause(): void {
    this.calls.push('pause');
    this.state = 'paused';
    this.settleDisks();
  }

  settleDisks(): void {
    if (this.state !== 'paused') return;
    this.settled++;
    this.onSettle();
  }

  resume(): void {
    this.calls.push('resume');
    this.timesResumed++;
    this.state = 'running';
  }

  stop(by: string, exitCode: number): void {
    this.calls.push(`stop by ${by} ${exitCode}`);
    this.state = 'ended';
  }
}

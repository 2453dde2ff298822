import type { VcpuHandle } from '../../host/kvm/vm.ts';
import { controlCellBytes, ThreadControl } from '../thread/thread-control.ts';

/** Exits that are counted, in the order of their counters. `kick`: the thread was called out of the guest. */
export const exitKinds = ['portIn', 'portOut', 'mmioRead', 'mmioWrite', 'kick', 'other'] as const;
export type ExitKind = (typeof exitKinds)[number];
export type ExitCounts = Record<ExitKind, number>;

/** Index of each counter, for the hot path. */
export const counter: Readonly<Record<ExitKind, number>> = {
  portIn: 0,
  portOut: 1,
  mmioRead: 2,
  mmioWrite: 3,
  kick: 4,
  other: 5,
};

/** How other threads reach a vCPU and the thread that runs it. */
export interface SharedVcpu {
  readonly handle: VcpuHandle;
  readonly control: SharedArrayBuffer;
}

/** What a vCPU thread shares with its controller: the cells of every thread, and exits by kind, which it alone writes. */
export class VcpuControl extends ThreadControl {
  readonly counters: Float64Array<SharedArrayBuffer>;

  constructor(storage = new SharedArrayBuffer(controlCellBytes + exitKinds.length * 8)) {
    super(storage);
    this.counters = new Float64Array(storage, controlCellBytes, exitKinds.length);
  }

  /** Times that the thread came out of the guest. Allocates nothing. */
  get turns(): number {
    let turns = 0;
    for (let index = 0; index < exitKinds.length; index++) turns += this.counters[index] as number;
    return turns;
  }

  get exits(): ExitCounts {
    return Object.fromEntries(exitKinds.map((kind, index) => [kind, this.counters[index] ?? 0])) as ExitCounts;
  }
}

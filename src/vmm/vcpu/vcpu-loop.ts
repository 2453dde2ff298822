import type { IoBus } from '../../devices/io-bus.ts';
import { exitReason, ioDirectionOut, kvmRegs, kvmRun } from '../../host/kvm/abi.ts';
import type { BasicRegisters } from '../../host/kvm/basic-registers.ts';
import type { Vcpu } from '../../host/kvm/vcpu.ts';
import { request } from '../thread/thread-control.ts';
import type { GuestEnd, RegisterDump } from './guest-end.ts';
import { counter, type VcpuControl } from './vcpu-control.ts';

const offset = kvmRun.offsets;

/** KVM_SYSTEM_EVENT_*, section 5. */
const SYSTEM_EVENT_SHUTDOWN = 1;
const SYSTEM_EVENT_RESET = 2;

/** What a vCPU thread works with. */
export interface VcpuLoop {
  readonly vcpu: Vcpu;
  readonly control: VcpuControl;
  readonly ports: IoBus;
  readonly memory: IoBus;
  /** An end that a device asked for while it served the last access. Each is given once. */
  readonly takeRequest: () => GuestEnd | undefined;
  /** Tells the controller how the guest ended. Whether it does not go on after all is the controller's to say. */
  readonly report: (end: GuestEnd) => void;
  /** What the thread does while it is parked when the controller has it serve. */
  readonly serve: () => void;
}

/**
 * Runs a vCPU until the controller wants the thread to end. Serves every register access on this thread.
 *
 * An access is complete for the guest only when KVM_RUN is entered again. So on a request to park the loop enters once
 * more with the exit request still pending: KVM finishes the instruction and comes straight back (KVM API section 5,
 * immediate_exit). Parked therefore means: nothing half done.
 */
export function runVcpuLoop(loop: VcpuLoop): void {
  const { vcpu, control } = loop;
  for (;;) {
    if (vcpu.enter() === 'exit') {
      const bad = serveExit(loop);
      const end = bad ?? loop.takeRequest();
      if (end === undefined) continue;
      if (bad === undefined) completeAccess(vcpu);
      // Held before it is told of, for the answer may come at once.
      control.hold();
      loop.report(end);
      control.parkWhileHeld(loop.serve);
    } else {
      count(control, counter.kick);
      // Cleared before looking: a request that comes later sets it again and is seen on the next entry.
      vcpu.clearExitRequest();
      if (control.request === request.park) control.park(loop.serve);
    }
    if (control.request === request.end) return;
  }
}

/** Has KVM finish the access that was served last, without a step of the guest. */
function completeAccess(vcpu: Vcpu): void {
  vcpu.requestExit();
  vcpu.enter();
  // Whoever wanted the thread to leave the guest is heard by where it parks.
  vcpu.clearExitRequest();
}

/** Hot path: no allocation unless the guest is at its end. */
function serveExit(loop: VcpuLoop): GuestEnd | undefined {
  const { run } = loop.vcpu;
  const reason = run.getUint32(offset.exit_reason, true);
  switch (reason) {
    case exitReason.io:
      servePort(loop, run);
      return undefined;
    case exitReason.mmio:
      serveMemory(loop, run);
      return undefined;
    case exitReason.intr:
    case exitReason.irqWindowOpen:
      return undefined;
    default:
      count(loop.control, counter.other);
      return badEnd(loop.vcpu, reason);
  }
}

/** IN, OUT and their string forms: `count` accesses of `size` bytes to one port. */
function servePort(loop: VcpuLoop, run: DataView): void {
  const size = run.getUint8(offset.io_size);
  const port = run.getUint16(offset.io_port, true);
  const accesses = run.getUint32(offset.io_count, true);
  const data = run.getUint32(offset.io_data_offset, true);
  const out = run.getUint8(offset.io_direction) === ioDirectionOut;
  count(loop.control, out ? counter.portOut : counter.portIn);
  for (let at = data; at < data + accesses * size; at += size) access(loop.ports, run, port, size, at, out);
}

/** A load or store outside RAM. */
function serveMemory(loop: VcpuLoop, run: DataView): void {
  const address = run.getUint32(offset.mmio_phys_addr, true) + run.getUint32(offset.mmio_phys_addr + 4, true) * 2 ** 32;
  const length = run.getUint32(offset.mmio_len, true);
  const write = run.getUint8(offset.mmio_is_write) !== 0;
  count(loop.control, write ? counter.mmioWrite : counter.mmioRead);
  // Buses take 1, 2 or 4 bytes; KVM reports up to 8, of any length where an access is cut at a page's end.
  for (let done = 0; done < length; ) {
    const rest = length - done;
    const size = rest >= 4 ? 4 : rest >= 2 ? 2 : 1;
    access(loop.memory, run, address + done, size, offset.mmio_data + done, write);
    done += size;
  }
}

/** One access of 1, 2 or 4 bytes whose data lies at `at` in the run area. */
function access(bus: IoBus, run: DataView, address: number, size: number, at: number, write: boolean): void {
  if (write) {
    const value = size === 1 ? run.getUint8(at) : size === 2 ? run.getUint16(at, true) : run.getUint32(at, true);
    bus.write(address, size, value);
    return;
  }
  const value = bus.read(address, size);
  if (size === 1) run.setUint8(at, value);
  else if (size === 2) run.setUint16(at, value, true);
  else run.setUint32(at, value, true);
}

function count(control: VcpuControl, index: number): void {
  control.counters[index] = (control.counters[index] as number) + 1;
}

function badEnd(vcpu: Vcpu, reason: number): GuestEnd {
  const run = kvmRun.over(vcpu.run);
  switch (reason) {
    case exitReason.shutdown:
      return { kind: 'triple-fault', vcpu: vcpu.index, registers: dumpRegisters(vcpu.registers) };
    case exitReason.internalError:
      return {
        kind: 'internal-error',
        vcpu: vcpu.index,
        suberror: run.internal_suberror,
        data: run.internal_data.slice(0, run.internal_ndata),
        registers: dumpRegisters(vcpu.registers),
      };
    case exitReason.failEntry:
      return {
        kind: 'entry-failure',
        vcpu: vcpu.index,
        reason: run.fail_entry_reason,
        registers: dumpRegisters(vcpu.registers),
      };
    case exitReason.systemEvent:
      if (run.system_event_type === SYSTEM_EVENT_SHUTDOWN) return { kind: 'power-off' };
      if (run.system_event_type === SYSTEM_EVENT_RESET) return { kind: 'reset' };
      return { kind: 'unknown-exit', vcpu: vcpu.index, reason, registers: dumpRegisters(vcpu.registers) };
    default:
      return { kind: 'unknown-exit', vcpu: vcpu.index, reason, registers: dumpRegisters(vcpu.registers) };
  }
}

function dumpRegisters({ regs, sregs }: BasicRegisters): RegisterDump {
  const names = Object.keys(kvmRegs.offsets) as (keyof typeof kvmRegs.offsets)[];
  const { cs, ss, cr0, cr2, cr3, cr4, efer } = sregs;
  return {
    ...Object.fromEntries(names.map((name) => [name, regs[name]])),
    cs: BigInt(cs.selector),
    ss: BigInt(ss.selector),
    cr0,
    cr2,
    cr3,
    cr4,
    efer,
  };
}

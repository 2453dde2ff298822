import { EAGAIN, EINTR } from '../errno.ts';
import { ioctlNumber } from '../libc/ioctl.ts';
import { lastErrno } from '../libc/library.ts';
import { viewMemory } from '../libc/memory.ts';
import { SystemError } from '../system-error.ts';
import { KVM_RUN, kvmRun } from './abi.ts';
import { BasicRegisters } from './basic-registers.ts';
import type { VcpuHandle } from './vm.ts';

/** Why KVM_RUN came back. */
export type RunResult = 'exit' | 'interrupted';

/** A vCPU on the thread that runs it. Its ioctls belong to that thread once it runs; {@link requestExit} to any other. */
export class Vcpu {
  readonly index: number;
  /** The run area: kvm_run, and behind it the data of port I/O. */
  readonly run: DataView;
  /** To set it up, and to tell where it stands after a crash. */
  readonly registers: BasicRegisters;
  readonly #fd: VcpuHandle['fd'];
  readonly #runBytes: Uint8Array;

  constructor(handle: VcpuHandle) {
    this.index = handle.index;
    this.#fd = handle.fd;
    this.registers = new BasicRegisters(handle);
    const area = viewMemory(handle.runAddress, handle.runBytes);
    this.run = new DataView(area);
    this.#runBytes = new Uint8Array(area);
  }

  /** Runs guest code until it needs us or a kick arrives. Hot path. */
  enter(): RunResult {
    if (ioctlNumber(this.#fd, KVM_RUN.number, 0) === 0) return 'exit';
    const errno = lastErrno();
    // EAGAIN: an application processor that was woken for nothing before its start-up IPI.
    if (errno === EINTR || errno === EAGAIN) return 'interrupted';
    throw new SystemError('KVM_RUN', errno, `vcpu ${this.index}`);
  }

  /** Makes the next, or with a kick the running, {@link enter} return `interrupted`. From any thread. */
  requestExit(): void {
    Atomics.store(this.#runBytes, kvmRun.offsets.immediate_exit, 1);
  }

  /** Takes the request back. Look for the reason only after this, or one that arrives meanwhile is lost. */
  clearExitRequest(): void {
    Atomics.store(this.#runBytes, kvmRun.offsets.immediate_exit, 0);
  }
}

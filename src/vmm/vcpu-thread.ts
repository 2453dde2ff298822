import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { BootRegisters } from '../../firmware/boot-registers.ts';
import { kick } from '../host/kick.ts';
import type { CpuidEntry } from '../host/kvm/kvm-device.ts';
import { Vcpu } from '../host/kvm/vcpu.ts';
import type { VcpuHandle } from '../host/kvm/vm.ts';
import type { SharedPlatform } from './platform.ts';
import { type ExitCounts, type Phase, phase, request, VcpuControl } from './vcpu-control.ts';
import type { VcpuBirth, VcpuReport, VcpuStart } from './vcpu-worker.ts';

/** A vCPU that does not come out of the guest within this time is broken: a kick takes a fraction of it. */
const parkTimeoutMs = 900;
/** A kick is repeated this often, for a thread that was just about to enter the kernel. */
const kickPeriodMs = 5;

/** What the controller hears of a vCPU thread. */
export interface VcpuListener {
  ended(report: VcpuReport): void;
  /** The thread died: an exception in our own code. */
  failed(index: number, error: Error): void;
}

/** A vCPU thread seen from the thread that controls it. */
export class VcpuThread {
  readonly index: number;
  readonly #control = new VcpuControl();
  readonly #vcpu: Vcpu;
  readonly #worker: Worker;
  readonly #exited: Promise<unknown>;

  /** Starts the thread, parked. `program` is the file whose top leads to {@link vcpuMain}. */
  constructor(program: URL, handle: VcpuHandle, platform: SharedPlatform, listener: VcpuListener) {
    this.index = handle.index;
    this.#vcpu = new Vcpu(handle);
    const birth: VcpuBirth = { handle, control: this.#control.storage, platform };
    this.#worker = new Worker(program, {
      workerData: birth,
      name: `vcpu-${handle.index}`,
      // Not piped to ours, for which Node would make streams that nobody needs: a vCPU thread prints nothing.
      stdout: true,
      stderr: true,
    });
    this.#worker.on('message', (report: VcpuReport) => listener.ended(report));
    this.#worker.on('error', (error) => listener.failed(this.index, error));
    this.#worker.on('exit', (code) => {
      if (this.#control.phase === phase.ended) return;
      // It went without a word, and without its clean-up: process.exit() in a library, or a call to terminate it.
      this.#control.phase = phase.ended;
      listener.failed(this.index, new Error(`its thread ended with exit code ${code}`));
    });
    this.#exited = once(this.#worker, 'exit').catch(() => undefined);
  }

  /** Sets the vCPU up and lets it run, for the first time. */
  start(cpuid: readonly CpuidEntry[], boot: BootRegisters | undefined): void {
    const start: VcpuStart = { cpuid: cpuid.map((entry) => entry.$bytes), ...(boot === undefined ? {} : { boot }) };
    this.#worker.postMessage(start);
    this.resume();
  }

  /** Asks the thread to park; {@link waitUntilParked} makes sure that it did. */
  requestPark(): void {
    this.#control.request = request.park;
    this.#callOut();
  }

  /** Blocks until the thread touches no guest state any more. Throws if it does not come out of the guest. */
  waitUntilParked(): void {
    // A thread that still loads its program parks first of all.
    if (!this.#waitFor((now) => now !== phase.running)) {
      throw new Error(`vcpu ${this.index} did not leave the guest within ${parkTimeoutMs} ms`);
    }
  }

  resume(): void {
    this.#control.request = request.run;
  }

  /** Asks the thread to end. */
  requestEnd(): void {
    this.#control.request = request.end;
    this.#callOut();
  }

  /** Resolves when the thread is gone; false if it did not go in time. */
  async joined(): Promise<boolean> {
    // A thread that still loads its program has no id to be kicked by, and sees the request before it enters.
    const inGuest = (now: Phase): boolean => now === phase.ended || now === phase.starting;
    if (!this.#waitFor(inGuest)) return false;
    await this.#exited;
    return true;
  }

  get exits(): ExitCounts {
    return this.#control.exits;
  }

  #callOut(): void {
    this.#vcpu.requestExit();
    if (this.#control.tid !== 0) kick(this.#control.tid);
  }

  #waitFor(reached: (now: Phase) => boolean): boolean {
    const deadline = performance.now() + parkTimeoutMs;
    for (;;) {
      const now = this.#control.phase;
      if (reached(now)) return true;
      if (performance.now() > deadline) return false;
      if (!this.#control.waitWhilePhase(now, kickPeriodMs)) this.#callOut();
    }
  }
}

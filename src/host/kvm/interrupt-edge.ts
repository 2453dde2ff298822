import type { Fd } from '../libc/descriptors.ts';
import { type IoctlRequest, ioctlNumber } from '../libc/ioctl.ts';
import { lastErrno } from '../libc/library.ts';
import { viewMemory } from '../libc/memory.ts';
import { LowMapping } from '../mappings/mapping.ts';
import type { Closable } from '../ownership.ts';
import { SystemError } from '../system-error.ts';

/** A pin of the I/O APIC, as another thread is told of it. */
export interface InterruptPin {
  readonly vm: Fd;
  readonly gsi: number;
  /** KVM_IRQ_LINE: a thread that knows it from here need not load all of KVM's interface. */
  readonly request: IoctlRequest;
}

/** struct kvm_irq_level: pin u32, level u32. */
const requestBytes = 8;

/**
 * Edges on a pin, made by the thread that calls. KVM leaves the signal of an irqfd on such a pin to a thread of the kernel,
 * and two switches between threads for each interrupt cost more than the second call here.
 */
export class InterruptEdge implements Closable {
  readonly #pin: InterruptPin;
  /** Two requests: high, low. */
  readonly #requests = new LowMapping('interrupt', 2 * requestBytes);

  constructor(pin: InterruptPin) {
    this.#pin = pin;
    new Uint32Array(viewMemory(this.#requests.address, 2 * requestBytes)).set([pin.gsi, 1, pin.gsi, 0]);
  }

  /** One rising edge (API, section 4.25). Hot path. */
  signal(): void {
    this.#set(this.#requests.address);
    this.#set(this.#requests.address + requestBytes);
  }

  close(): void {
    this.#requests.close();
  }

  #set(request: number): void {
    const { vm, request: call } = this.#pin;
    if (ioctlNumber(vm, call.number, request) < 0) {
      throw new SystemError(call.name, lastErrno(), `GSI ${this.#pin.gsi}`);
    }
  }
}

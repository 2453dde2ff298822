import { interrupt as interruptBit, mmioState } from '../../devices/virtio/mmio-state.ts';
import type { VirtioShape } from '../../devices/virtio/virtio-device.ts';
import { EventFd } from '../../host/events/eventfd.ts';
import type { InterruptPin } from '../../host/kvm/interrupt-edge.ts';
import type { Gsi, Vm } from '../../host/kvm/vm.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import { type Gpa, gpa } from '../../memory/address.ts';
import { virtioMmioAddress, virtioMmioBytes } from '../../memory/layout.ts';

/** GSIs of virtio devices: the pins of the I/O APIC that nothing else has. */
const firstGsi: Gsi = 6;
const lastGsi: Gsi = 23;
/** Virtio devices that a machine can have. */
export const mostVirtioDevices = lastGsi - firstGsi + 1;

/** Register offsets (Virtio 1.2, 4.2.2). */
const queueNotify = 0x50;
const interruptAck = 0x64;

/** What every thread must know of a virtio device to serve its registers. */
export interface SharedVirtio {
  readonly base: Gpa;
  readonly shape: VirtioShape;
  readonly state: SharedArrayBuffer;
  /** Eventfd of each queue, signalled when the driver kicks it. */
  readonly kicks: readonly Fd[];
}

/** A place for a virtio device on the machine's memory bus: registers, an interrupt pin, a kick for each queue. */
export class VirtioSlot implements Closable {
  readonly shared: SharedVirtio;
  readonly gsi: Gsi;
  readonly interrupt: InterruptPin;
  readonly #owner = new Owner();

  /** @param index of the device among the machine's virtio devices, below {@link mostVirtioDevices} */
  constructor(vm: Vm, index: number, shape: VirtioShape) {
    const base = gpa(virtioMmioAddress + index * virtioMmioBytes);
    this.gsi = firstGsi + index;
    this.interrupt = vm.interruptPin(this.gsi);
    try {
      const kicks = shape.queueSizes.map((_, queue) => {
        const kick = this.#owner.own(new EventFd());
        vm.connectNotify(kick, base + queueNotify, queue);
        return kick.fd;
      });
      // An acknowledgement of used buffers, and nothing else, stays in the kernel: nobody listens. Its bit of the interrupt
      // status then stays set, which tells a driver that has an interrupt nothing new: it looks into its rings.
      vm.connectNotify(this.#owner.own(new EventFd()), base + interruptAck, interruptBit.queue);
      this.shared = { base, shape, state: mmioState(shape).storage, kicks };
    } catch (error) {
      this.#owner.close();
      throw error;
    }
  }

  /** KVM lets go of the descriptors when the VM is closed. */
  close(): void {
    this.#owner.close();
  }
}

import { I8042, i8042PortCount } from '../../devices/i8042.ts';
import { IoBus } from '../../devices/io-bus.ts';
import { PciHost, pciHostPortCount, pciHostState } from '../../devices/pci-host.ts';
import { PowerRegister, type PowerRequests } from '../../devices/power.ts';
import { PvPanic } from '../../devices/pvpanic.ts';
import { Serial, serialPortCount } from '../../devices/serial.ts';
import { serialState } from '../../devices/serial-state.ts';
import { MmioRegisters } from '../../devices/virtio/mmio-registers.ts';
import { mmioState } from '../../devices/virtio/mmio-state.ts';
import { InterruptLine } from '../../host/kvm/vm.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import { DoorbellButton } from '../../host/threads/doorbell.ts';
import { virtioMmioBytes } from '../../memory/layout.ts';
import { IoThreadPort, type SharedIoControl } from './io-control.ts';
import type { SharedVirtio } from './virtio-slots.ts';

/** Ports and interrupts of the machine. The ACPI tables are built from the same numbers. */
export const platformMap = {
  serial: { port: 0x3f8, gsi: 4 },
  i8042: { port: 0x60 },
  pciHost: { port: 0xcf8 },
  power: { port: 0x600 },
  /** As in QEMU. */
  pvpanic: { port: 0x505 },
  /** Pulsed to press the power button. */
  powerButton: { gsi: 5 },
  /** Pulsed when the generation id has changed. */
  generationId: { gsi: 3 },
} as const;

/** The memory that all threads share of the machine's devices, to be sent to a thread as it is. */
export interface SharedPlatform {
  readonly vm: Fd;
  readonly serial: SharedArrayBuffer;
  readonly pciHost: SharedArrayBuffer;
  /** Button of the doorbell that wakes whoever attends to the serial port. */
  readonly serialBell: Fd;
  readonly io: SharedIoControl;
  readonly virtio: readonly SharedVirtio[];
}

/** Device state of a fresh machine. */
export function newPlatform(parts: Omit<SharedPlatform, 'serial' | 'pciHost'>): SharedPlatform {
  return { ...parts, serial: serialState().storage, pciHost: pciHostState().buffer };
}

/** The serial port, for any thread. */
export function serialPort(platform: SharedPlatform): Serial {
  const interrupt = new InterruptLine(platform.vm, platformMap.serial.gsi);
  return new Serial(serialState(platform.serial), interrupt, new DoorbellButton(platform.serialBell));
}

/** The way to PCI configuration space, for any thread. */
export function pciHost(platform: SharedPlatform, reset: () => void = () => {}): PciHost {
  return new PciHost(pciHostState(platform.pciHost), reset);
}

/** What a guest can ask for, by any device. */
export interface GuestRequests extends PowerRequests {
  /** The guest's kernel says that it has panicked. */
  panicked(): void;
}

/** Buses of one vCPU thread, with every device on them. */
export function attachDevices(platform: SharedPlatform, requests: GuestRequests): { ports: IoBus; memory: IoBus } {
  const ports = new IoBus();
  ports.map(platformMap.serial.port, serialPortCount, serialPort(platform));
  ports.map(platformMap.i8042.port, i8042PortCount, new I8042(() => requests.reset()));
  ports.map(
    platformMap.pciHost.port,
    pciHostPortCount,
    pciHost(platform, () => requests.reset()),
  );
  ports.map(platformMap.power.port, 1, new PowerRegister(requests));
  ports.map(platformMap.pvpanic.port, 1, new PvPanic(() => requests.panicked()));
  const memory = new IoBus();
  for (const { base, shape, state: storage, kicks } of platform.virtio) {
    const state = mmioState(shape, storage);
    const port = new IoThreadPort(platform.io, state, kicks);
    memory.map(base, virtioMmioBytes, new MmioRegisters(state, shape, port));
  }
  return { ports, memory };
}

import { writeAcpi } from '../../../firmware/acpi/machine-tables.ts';
import { type BootRegisters, bootRegisters } from '../../../firmware/boot-registers.ts';
import { loadKernel } from '../../../firmware/load-kernel.ts';
import { writeResetVector } from '../../../firmware/reset-vector.ts';
import { capability } from '../../host/kvm/abi.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { generationIdAddress } from '../../memory/layout.ts';
import { platformMap } from '../platform/platform.ts';
import { guestCpuid } from '../vcpu/cpuid.ts';
import type { MachineParts } from './machine-parts.ts';
import type { BootImages, MachineShape } from './machine-shape.ts';

/**
 * Brings RAM, which holds nothing, to where a kernel begins: ACPI tables, reset vector, kernel and initrd. What the registers
 * of vCPU 0 must be for it.
 *
 * @throws KernelImageError
 */
export function loadImages({ ram, devices, vcpus }: MachineParts, images: BootImages): BootRegisters {
  const rsdp = writeAcpi(ram.memory, {
    cpus: vcpus.length,
    serialPorts: [platformMap.serial],
    powerPort: platformMap.power.port,
    powerButton: platformMap.powerButton,
    pvpanicPort: platformMap.pvpanic.port,
    generationId: { address: generationIdAddress, ...platformMap.generationId },
    virtioMmio: devices.acpi,
  });
  writeGenerationId(ram.memory);
  writeResetVector(ram.memory, platformMap.power.port);
  // Not imported: loading it takes longer than all else here, and few machines need it.
  const kaslr = images.kaslr === true ? process.getBuiltinModule('node:crypto').randomInt : undefined;
  return bootRegisters(loadKernel(ram.memory, { ...images, rsdp, kaslr }));
}

/** Gives vCPUs that have not run their CPUID and registers. */
export function prepareVcpus(parts: MachineParts, shape: MachineShape, boot: BootRegisters): void {
  const { kvm, vm, vcpus } = parts;
  const supported = kvm.supportedCpuid();
  const tscDeadline = vm.check(capability.tscDeadlineTimer) > 0;
  const keepsTsc = parts.keepsTsc();
  for (const vcpu of vcpus) {
    const cpuid = guestCpuid(supported, vcpu.index, { cpus: shape.cpus, tscDeadline, keepsTsc, mask: shape.cpuMask });
    vcpu.prepare(cpuid, vcpu.index === 0 ? boot : undefined);
  }
}

/** Gives the machine a generation id that no other one has. */
export function writeGenerationId(memory: GuestMemory): void {
  memory.write(generationIdAddress, crypto.getRandomValues(new Uint8Array(16)));
}

import { createHash } from 'node:crypto';
import type { Machine } from '../../src/vmm/machine/machine.ts';
import type { MachineState } from '../../src/vmm/vmstate/machine-state.ts';
import { encodeMachineState } from '../../src/vmm/vmstate/state-codec.ts';

/**
 * A state without what may differ after it was saved, loaded and saved again, and why:
 *
 * - PIT count_load_time: when on the host's clock the count was loaded, which loading it anew changes.
 * - The upper halves of SYSENTER_ESP and SYSENTER_EIP: AMD processors have 32 bits of them, which is enough in long mode.
 * - The current count of the local APIC's timer, which the host's clock counts down.
 */
export function withoutExceptions(state: MachineState): MachineState {
  const sysenter = [0x175, 0x176];
  const currentCount = 0x390;
  return {
    ...state,
    vm: {
      ...state.vm,
      pit: { ...state.vm.pit, channels: state.vm.pit.channels.map((channel) => ({ ...channel, count_load_time: 0n })) },
    },
    vcpus: state.vcpus.map((vcpu) => ({
      ...vcpu,
      lapic: vcpu.lapic.slice().fill(0, currentCount, currentCount + 4),
      msrs: vcpu.msrs.map(({ index, value }) => ({
        index,
        value: sysenter.includes(index) ? value & 0xffff_ffffn : value,
      })),
    })),
  };
}

/** All that a guest can tell its machine by: its RAM and its state, as a hash. */
export function fingerprint(machine: Machine): string {
  const hash = createHash('sha256');
  for (const { start, sizeBytes } of machine.ram.memory.regions)
    hash.update(machine.ram.memory.slice(start, sizeBytes));
  return hash.update(encodeMachineState(withoutExceptions(machine.save()))).digest('hex');
}

/** Has `to` what `from` has in RAM. */
export function copyRam(from: Machine, to: Machine): void {
  for (const { start, sizeBytes } of from.ram.memory.regions) {
    to.ram.memory.write(start, from.ram.memory.slice(start, sizeBytes));
  }
}

import { residentMemory } from '../../host/mappings/resident-memory.ts';
import { MiB } from '../../memory/address.ts';
import type { Machine } from '../machine/machine.ts';
import type { ExitCounts, ExitKind } from '../vcpu/vcpu-control.ts';

/** Words for a person, in the order of reading. */
const names: Readonly<Record<ExitKind, string>> = {
  portIn: 'port in',
  portOut: 'port out',
  mmioRead: 'MMIO read',
  mmioWrite: 'MMIO write',
  kick: 'kick',
  other: 'other',
};

/** One line about a machine's life: how long, exits by kind, and what the VMM needed beyond the guest's RAM. */
export function runSummary(machine: Machine, seconds: number): string {
  const { address } = machine.ram.shared;
  const memory = residentMemory(address, machine.ram.memory.sizeBytes);
  const beyond = Math.round((memory.totalBytes - memory.insideBytes) / MiB);
  return `${seconds.toFixed(1)} s; exits: ${describeExits(machine.exits)}; ${beyond} MiB resident beyond guest RAM`;
}

function describeExits(exits: ExitCounts): string {
  return Object.entries(names)
    .map(([kind, name]) => `${exits[kind as ExitKind]} ${name}`)
    .join(', ');
}

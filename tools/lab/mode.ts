import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { LabError } from './errors.ts';

/** `emulated`: QEMU makes bare metal. `native`: this machine is it, hosts are namespaces on it. */
export type LabMode = 'emulated' | 'native';

/** What the choice rests on. */
export interface ModeFacts {
  readonly cpuFlags: ReadonlySet<string>;
  /** This process may open /dev/kvm. */
  readonly kvmUsable: boolean;
  /** The module behind /dev/kvm runs guests without hardware virtualisation. */
  readonly kvmIsSoftware: boolean;
}

export interface ModeChoice {
  readonly mode: LabMode;
  readonly reason: string;
}

/** Native where a Linux guest can run on this machine's own KVM; `wanted` (the variable LAB) overrides. */
export function chooseMode(facts: ModeFacts, wanted: string | undefined): ModeChoice {
  if (wanted === 'emulated' || wanted === 'native') return { mode: wanted, reason: 'LAB says so' };
  if (wanted !== undefined && wanted !== '') {
    throw new LabError(`LAB is "${wanted}"; it can be emulated or native, or be left out`);
  }
  if (!facts.cpuFlags.has('vmx') && !facts.cpuFlags.has('svm')) {
    return { mode: 'emulated', reason: 'the CPU shows no hardware virtualisation (vmx or svm)' };
  }
  if (!facts.kvmUsable) return { mode: 'emulated', reason: '/dev/kvm is missing or may not be opened' };
  if (facts.kvmIsSoftware) return { mode: 'emulated', reason: '/dev/kvm works without hardware virtualisation here' };
  return { mode: 'native', reason: 'this machine has KVM with hardware virtualisation' };
}

/** The facts about this machine. */
export function readModeFacts(): ModeFacts {
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
  return {
    cpuFlags: new Set(flags.trim().split(/\s+/)),
    kvmUsable: mayOpen('/dev/kvm'),
    kvmIsSoftware: existsSync('/sys/module/kvm_pvm'),
  };
}

function mayOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

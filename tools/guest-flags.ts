import type { LabMode } from './lab/mode.ts';

/**
 * CPU features that a guest in an emulated host must not have: the emulation does not keep the XSAVE state of a nested
 * guest apart from its host's, so the guest's floating-point state has to travel by FXSAVE.
 */
export const xsaveFamily = ['xsave', 'osxsave', 'avx', 'avx2', 'f16c', 'fma'] as const;

/** Flags for `colo-vmm run` that a guest needs in a host of this kind. */
export function guestCpuFlags(mode: LabMode): string[] {
  return mode === 'emulated' ? ['--cpu-mask', xsaveFamily.join(',')] : [];
}

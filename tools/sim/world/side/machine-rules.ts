/** What machines do by themselves: as src/vmm/machine has it, or broken by a mutant. */
export interface MachineRules {
  /** A machine that is protected announces itself no more: an announcement passes no gate. */
  readonly endsAnnouncements: boolean;
}

export const machineRules: MachineRules = { endsAnnouncements: true };

import { randomUUID } from 'node:crypto';
import type { Protector } from '../../vmm/command/protection.ts';
import { runCommand } from '../../vmm/command/run-command.ts';
import type { RunConfig } from '../../vmm/config/config.ts';
import { beginTerm } from '../thread/begin-term.ts';
import { PrimaryControl } from '../thread/primary-control.ts';
import type { PrimaryConfig } from './pair-config.ts';

/** Body of `colo-vmm run --standby ...`: the guest runs, and is protected as soon as its standby is there. */
export async function protectedRunCommand(config: RunConfig, pair: PrimaryConfig, program: URL): Promise<number> {
  const holder = randomUUID();
  await beginTerm(pair, holder);
  return runCommand(config, program, {
    atOnce: true,
    make: async (machine, notice) => {
      const control = new PrimaryControl(machine, program, { name: config.name, holder }, notice);
      control.start(pair);
      return control;
    },
  });
}

/** Makes what protects a machine when somebody asks for that. */
export function protector(name: string | undefined, program: URL): Protector {
  return { atOnce: false, make: async (machine, notice) => new PrimaryControl(machine, program, { name }, notice) };
}

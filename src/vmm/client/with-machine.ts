import { MachineConnection, type TotalLimit } from './machine-connection.ts';
import type { EventListener } from './qmp-client.ts';
import { chooseMachine, type MachineChoice } from './running-machines.ts';

/** What the commands that talk to a running machine have in common. */
export interface ClientOptions extends MachineChoice {
  readonly json?: boolean;
}

/**
 * Connects with the machine that is meant. `shutdown` gives QMP's reason once it has ended.
 *
 * @param hear is told of all other events
 * @param limit of its answers; default: patient
 */
export async function withMachine(
  options: ClientOptions,
  use: (machine: MachineConnection, shutdown: Promise<string>) => Promise<void>,
  hear: EventListener = () => {},
  limit?: TotalLimit,
): Promise<void> {
  let ended: (reason: string) => void = () => {};
  const shutdown = new Promise<string>((resolve) => {
    ended = resolve;
  });
  const onEvent: EventListener = (name, data, atMs) => {
    if (name === 'SHUTDOWN') ended((data as { reason?: string } | undefined)?.reason ?? 'unknown');
    else hear(name, data, atMs);
  };
  const machine = await MachineConnection.open(await chooseMachine(options), onEvent, limit);
  // A VMM that dies says nothing.
  void machine.client.ended.then(() => ended('killed'));
  try {
    await use(machine, shutdown);
  } finally {
    machine.close();
  }
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Ends the process, in order, when nobody reads any more what it prints on and on. */
export function endWithReader(): void {
  process.stdout.on('error', () => process.exit(0));
}

/** Resolves after so long. */
export function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

import { pathToFileURL } from 'node:url';
import { clockDrift } from './clock-drift.ts';

export interface ClocksOrder {
  /** The VMM's bundle in the host. */
  readonly program: string;
  readonly pauses: number;
}

/** Runs in a host of the lab: what the benchmark does natively. Prints its result as JSON. */
async function main(): Promise<void> {
  const { program, pauses } = JSON.parse(process.argv[2] ?? '{}') as ClocksOrder;
  const drift = await clockDrift(pathToFileURL(program), pauses, (line) => process.stderr.write(`${line}\n`));
  process.stdout.write(JSON.stringify(drift));
}

void main();

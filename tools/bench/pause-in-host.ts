import { pathToFileURL } from 'node:url';
import { benchPauses } from './pauses.ts';

export interface PausesOrder {
  /** The VMM's bundle in the host. */
  readonly program: string;
  readonly rounds: number;
}

/** Runs in a host of the lab: what the benchmark does natively. Prints its rows as JSON. */
async function main(): Promise<void> {
  const { program, rounds } = JSON.parse(process.argv[2] ?? '{}') as PausesOrder;
  const rows = await benchPauses('lab', pathToFileURL(program), rounds, (line) => process.stderr.write(`${line}\n`));
  process.stdout.write(JSON.stringify(rows));
}

void main();

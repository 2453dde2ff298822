import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { inPrivateNetwork } from '../chaos/net/private-network.ts';
import { traceCases } from './cases.ts';
import { record } from './recording.ts';
import { traceFile } from './trace-file.ts';

/** `npm run traces [-- CASE...]`: records what this machine's kernel says, anew, into test/golden/traces. */

const folder = fileURLToPath(new URL('../../test/golden/traces/', import.meta.url));
const names = traceCases.map(({ name }) => name);

const program = new Command('npm run traces --')
  .description('Record exchanges of two network stacks of this kernel, twice each, for the tests of src/colo/compare.')
  .argument('[case...]', `which of them; all if none is named: ${names.join(', ')}`)
  .option('--to <folder>', 'where to', folder)
  .action(async (wanted: readonly string[], { to }: { to: string }) => {
    const unknown = wanted.find((name) => !names.includes(name));
    if (unknown !== undefined) program.error(`there is no case ${unknown}; there are ${names.join(', ')}`);
    if (process.getuid?.() !== 0) program.error('network namespaces and TAPs need root: run as root');
    if (!existsSync(to)) program.error(`there is no folder ${to}`);
    await inPrivateNetwork();
    for (const trace of traceCases) {
      if (wanted.length > 0 && !wanted.includes(trace.name)) continue;
      for (const number of trace.takes.keys()) {
        const frames = await record(trace, number);
        const file = traceFile(frames);
        const name = `${trace.name}-${number + 1}.pcap.gz`;
        writeFileSync(`${to}/${name}`, file);
        console.log(`${name}: ${frames.length} frames, ${file.length} bytes`);
      }
    }
  });

await program.parseAsync().catch((error: Error) => program.error(error.message));

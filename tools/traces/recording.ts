import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Network } from './network.ts';
import { pings } from './pings.ts';
import type { Take, TraceCase } from './trace-case.ts';
import { type RecordedFrame, Wire } from './wire.ts';

const talker = fileURLToPath(new URL('./talker.ts', import.meta.url));
/** Longer than any exchange takes. */
const patienceMs = 60_000;
/** What kernels still have to say when the programs are done. */
const settleMs = 700;

/** Has both ends talk, and records what the guest says and hears. This process is in a network namespace of its own. */
export async function record(trace: TraceCase, number: number): Promise<RecordedFrame[]> {
  const take = trace.takes[number] as Take;
  const network = await Network.make(trace, take);
  const wire = new Wire(network, trace, take);
  wire.join();
  const programs: ChildProcess[] = [];
  try {
    for (const end of ['guest', 'client'] as const) {
      const args = [...process.execArgv, talker, end, trace.name, `${number}`];
      const [command, given] = network[end].namespace.command(process.execPath, ...args);
      programs.push(spawn(command, given, { stdio: ['pipe', 'pipe', 'inherit'], timeout: patienceMs }));
    }
    const ended = Promise.all(programs.map((program) => once(program, 'exit')));
    // What listens does; or that program has ended, and says why.
    await Promise.race([ended, Promise.all(programs.map(({ stdout }) => once(stdout as never, 'data')))]);
    if (trace.pings) for (const frame of pings()) wire.inject(frame);
    for (const { stdin } of programs) stdin?.write('begin\n');
    const codes = (await ended).map(([code]) => code);
    if (codes.some((code) => code !== 0)) throw new Error(`${trace.name}: the programs ended with ${codes.join(', ')}`);
    await sleep(settleMs);
  } finally {
    for (const program of programs) program.kill('SIGKILL');
    await wire.cut();
    await network.close();
  }
  return wire.recorded;
}

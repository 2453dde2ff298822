import { connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { QmpClient } from '../../src/vmm/client/qmp-client.ts';

/** Runs in a host of the lab, as a client of one VMM's monitor. */
export interface QmpOrder {
  readonly socket: string;
  /** Times to stop the machine and let it go on. */
  readonly rounds: number;
  /** Where to save it afterwards, and how: by our command or by QEMU's migration. */
  readonly snapshot: string;
  readonly saver: 'x-snapshot' | 'migrate';
}

/** Milliseconds, as the client sees them; `downtimeMs` as the VMM does. */
export interface QmpFigures {
  readonly stopMs: readonly number[];
  readonly contMs: readonly number[];
  /** From the order to save until all is written. */
  readonly savingMs: number;
  readonly downtimeMs: number;
}

/** So long does the guest run between two stops. */
const runMs = 100;

async function main(): Promise<void> {
  const { socket: path, rounds, snapshot, saver } = JSON.parse(process.argv[2] ?? '{}') as QmpOrder;
  const socket = connect(path);
  const client = new QmpClient(socket, socket);
  await client.execute('qmp_capabilities');
  const timed = async (command: string): Promise<number> => {
    const start = performance.now();
    await client.execute(command);
    return performance.now() - start;
  };
  const stopMs: number[] = [];
  const contMs: number[] = [];
  // The first ones warm V8 and caches up.
  for (let round = -5; round < rounds; round++) {
    await setTimeout(runMs);
    const stop = await timed('stop');
    const cont = await timed('cont');
    if (round < 0) continue;
    stopMs.push(stop);
    contMs.push(cont);
  }
  const start = performance.now();
  const downtimeMs = await (saver === 'migrate' ? migrate(client, snapshot) : takeSnapshot(client, snapshot));
  const figures: QmpFigures = { stopMs, contMs, savingMs: performance.now() - start, downtimeMs };
  socket.end();
  process.stdout.write(JSON.stringify(figures));
}

async function takeSnapshot(client: QmpClient, path: string): Promise<number> {
  const report = (await client.execute('x-snapshot', { path })) as { 'pause-ms': number };
  return report['pause-ms'];
}

async function migrate(client: QmpClient, path: string): Promise<number> {
  // As fast as it can be written.
  await client.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 });
  await client.execute('migrate', { uri: `exec:cat > ${path}` });
  for (;;) {
    await setTimeout(20);
    const answer = (await client.execute('query-migrate')) as { status?: string; downtime?: number };
    if (answer.status === 'completed') return answer.downtime ?? Number.NaN;
    if (answer.status === 'failed' || answer.status === 'cancelled') throw new Error(`the migration ${answer.status}`);
  }
}

void main();

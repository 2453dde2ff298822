// Runs the command line from its TypeScript sources: `npm run dev -- run ...`. Worker threads begin here as well,
// and a thread does not inherit tsx's loader, so each registers it anew.
import { isMainThread, workerData } from 'node:worker_threads';
import { register } from 'tsx/esm/api';

register();
if (isMainThread) {
  const { main } = await import('../src/cli.ts');
  await main(process.argv, new URL(import.meta.url));
} else {
  const programs = { vcpu: 'vmm/vcpu/vcpu', io: 'vmm/io/io', colo: 'colo/thread/colo' };
  const { threadMain } = await import(`../src/${programs[workerData.thread]}-worker.ts`);
  threadMain();
}

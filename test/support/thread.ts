import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/**
 * Calls an exported function of a module in a thread of its own; what it returns. The module is loaded there, so it
 * should be small, and no test file.
 */
export async function inThread(module: URL, name: string, ...args: unknown[]): Promise<unknown> {
  const worker = new Worker(new URL('./thread-main.mjs', import.meta.url), {
    workerData: { module: module.href, name, args },
  });
  const failed = once(worker, 'error').then(([error]) => {
    throw error;
  });
  failed.catch(() => {});
  // Listened for from the start: a message that is taken only as the thread ends comes in one go with its end.
  const exited = once(worker, 'exit');
  exited.catch(() => {});
  const [result] = await Promise.race([once(worker, 'message'), failed]);
  await exited;
  return result;
}

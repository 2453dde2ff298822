import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { ConfigError } from '../../../vmm/config/config.ts';
import type { WebBirth, WebReport, WebService } from './web-birth.ts';

/** What whoever floods the web thread can have of this process's memory, in MiB; beyond it that thread ends, and no other. */
const heapLimits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8 };

/**
 * The web thread, seen from the thread that owns the machine. It is one of its own so that no HTTP client, whatever it does, holds up a
 * checkpoint or a heartbeat; it sees the machine as any client of its control socket does.
 */
export class WebThread {
  readonly #worker: Worker;
  readonly #exited: Promise<unknown>;
  #closed = false;

  private constructor(worker: Worker, exited: Promise<unknown>) {
    this.#worker = worker;
    this.#exited = exited;
  }

  /**
   * Serves from when it resolves.
   *
   * @param program the file whose top runs the process's threads when it is loaded in a worker
   * @param control path of the machine's control socket, which need not be there yet
   * @param died is told why nothing is served any more
   * @throws ConfigError if something cannot be served where it is to be
   */
  static async start(
    program: URL,
    services: readonly WebService[],
    control: string,
    died: (reason: string) => void,
  ): Promise<WebThread> {
    const worker = new Worker(program, {
      workerData: {
        thread: 'web',
        services,
        control,
        page: fileURLToPath(new URL('dashboard', program)),
      } satisfies WebBirth,
      name: 'web',
      resourceLimits: heapLimits,
      stdout: true,
      stderr: true,
    });
    // Node's warnings are for developers, and would stand in the middle of the guest's console.
    worker.stdout.resume();
    worker.stderr.resume();
    let failure: Error | undefined;
    worker.on('error', (error) => {
      failure = error;
    });
    const exited = new Promise<void>((resolve) => {
      worker.once('exit', () => resolve());
    });
    const web = new WebThread(worker, exited);
    const first = new Promise<WebReport>((resolve) => {
      worker.once('message', resolve);
    });
    const report = await Promise.race([first, exited.then(() => ({ failed: failure?.message ?? 'its thread ended' }))]);
    if ('failed' in report) {
      await web.close();
      throw new ConfigError(report.failed);
    }
    void exited.then(() => {
      if (!web.#closed) died(failure?.message ?? 'its thread ended');
    });
    return web;
  }

  /** Serves nobody any more when it resolves. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#worker.terminate();
    await this.#exited;
  }
}

import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { nameThread } from '../../../host/threads/thread-name.ts';
import { MachineWatch } from './machine-watch.ts';
import { ReadOnlyServer, type Route } from './read-only-server.ts';
import { whyNotServed } from './web-address.ts';
import type { WebBirth, WebReport, WebService } from './web-birth.ts';

/** Threads of the machine come first where there are not processors for all. */
const niceness = 10;

/** Body of the web thread: it serves what `--metrics` and `--dashboard` ask for, until it is ended. */
export function threadMain(): void {
  nameThread('web');
  const birth = workerData as WebBirth;
  // On Linux this is the calling thread's alone.
  setPriority(0, niceness);
  const report = (report: WebReport): void => parentPort?.postMessage(report);
  serve(birth, new MachineWatch(birth.control)).then(
    () => report({ serves: true }),
    (error: Error) => report({ failed: error.message }),
  );
}

/** @throws Error with a sentence for the operator */
async function serve(birth: WebBirth, watch: MachineWatch): Promise<void> {
  for (const { what, at } of birth.services) {
    const routes = await routesOf[what](watch, birth);
    try {
      await ReadOnlyServer.listen(at, routes);
    } catch (error) {
      throw new Error(whyNotServed(`--${what}`, at, error as NodeJS.ErrnoException));
    }
  }
}

type MakeRoutes = (watch: MachineWatch, birth: WebBirth) => Promise<ReadonlyMap<string, Route>>;

/** What each serves. Its library is loaded only where it is asked for. */
const routesOf: Readonly<Record<WebService['what'], MakeRoutes>> = {
  metrics: async (watch) => {
    const { metricsPage } = await import('./metrics.ts');
    return new Map<string, Route>([['/metrics', () => metricsPage(watch)]]);
  },
  dashboard: async (watch, { page }) => {
    const { Dashboard } = await import('./dashboard.ts');
    return new Dashboard(watch, page).routes;
  },
};

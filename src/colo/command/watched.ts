import { tell } from '../../host/console/tell.ts';
import { ConfigError, type RunConfig } from '../../vmm/config/config.ts';
import { controlPath } from '../../vmm/monitor/control-directory.ts';
import { parseWebAddress } from '../observe/web/web-address.ts';
import type { WebService } from '../observe/web/web-birth.ts';
import { WebThread } from '../observe/web/web-thread.ts';
import { showHostPort } from './host-port.ts';

/** Of a command that stays with a machine. */
export type WatchedConfig = Pick<RunConfig, 'name' | 'control' | 'metrics' | 'dashboard'>;

/**
 * Has a machine's figures and its dashboard served, from before it is made until it has ended; as `--metrics` and `--dashboard` say.
 *
 * @param run stays with the machine until it ends
 * @returns what `run` does
 * @throws ConfigError if something cannot be served where it is to be; then nothing is run
 */
export async function watched(config: WatchedConfig, program: URL, run: () => Promise<number>): Promise<number> {
  const services = (['metrics', 'dashboard'] as const).flatMap((what): WebService[] => {
    const address = config[what];
    return address === undefined ? [] : [{ what, at: parseWebAddress(`--${what}`, address) }];
  });
  const [one, other] = services.map(({ at }) => showHostPort(at));
  if (one !== undefined && one === other) {
    throw new ConfigError(`--dashboard ${config.dashboard}: --metrics has this port already; give another one`);
  }
  const path = config.control ?? controlPath(config.name ?? process.pid);
  const flags = services.map(({ what }) => `--${what}`).join(' and ');
  const web = await WebThread.start(program, services, path, (reason) => tell(`colo-vmm: ${flags} ended: ${reason}\n`));
  try {
    return await run();
  } finally {
    await web.close();
  }
}

import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type HostName, hostNames } from '../net/network.ts';
import { HostDisk } from './host-disk.ts';
import { ProcessorQuota, type Starvation } from './processor-quota.ts';

/** What a host can be made to lack. */
export type Scarce = 'processor' | 'disk';

/** What the two hosts have beside a network: a share of the processors, and a disk each. */
export class Hosts {
  /** What they cannot be made to lack on this machine, and why. */
  readonly lacking: Readonly<Partial<Record<Scarce, string>>>;
  readonly #quotas: Partial<Record<HostName, ProcessorQuota>>;
  readonly #disks: Partial<Record<HostName, HostDisk>>;

  private constructor(
    quotas: Partial<Record<HostName, ProcessorQuota>>,
    disks: Partial<Record<HostName, HostDisk>>,
    lacking: Partial<Record<Scarce, string>>,
  ) {
    this.#quotas = quotas;
    this.#disks = disks;
    this.lacking = lacking;
  }

  /** In a mount namespace of our own. @param wanted what they may have to lack */
  static async make(wanted: ReadonlySet<Scarce>): Promise<Hosts> {
    const quotas: Partial<Record<HostName, ProcessorQuota>> = {};
    const disks: Partial<Record<HostName, HostDisk>> = {};
    const lacking: Partial<Record<Scarce, string>> = {};
    const hosts = new Hosts(quotas, disks, lacking);
    try {
      for (const host of hostNames) {
        if (wanted.has('processor')) {
          const quota = ProcessorQuota.make(`${basename(tmpdir())}-${host}`);
          if (typeof quota === 'string') lacking.processor = quota;
          else quotas[host] = quota;
        }
        if (wanted.has('disk')) {
          const disk = await HostDisk.make(join(tmpdir(), `host-${host}`));
          if (typeof disk === 'string') lacking.disk = disk;
          else disks[host] = disk;
        }
      }
    } catch (error) {
      await hosts.close();
      throw error;
    }
    return hosts;
  }

  /** Where a host keeps a pair's disk and state; undefined: wherever. */
  folder(host: HostName, pair: string): string | undefined {
    const disk = this.#disks[host];
    return disk === undefined ? undefined : join(disk.folder, pair);
  }

  /** That is left to the process. */
  starve(host: HostName, pid: number, left: Starvation): void {
    this.#quotas[host]?.starve(pid, left);
  }

  feed(host: HostName): void {
    this.#quotas[host]?.feed();
  }

  async stopDisk(host: HostName): Promise<void> {
    await this.#disks[host]?.stop();
  }

  async letDiskGo(host: HostName): Promise<void> {
    await this.#disks[host]?.go();
  }

  /** Nobody lacks anything. */
  async mend(): Promise<void> {
    for (const host of hostNames) {
      this.feed(host);
      if (this.#disks[host]?.isStopped === true) await this.letDiskGo(host);
    }
  }

  /** All that ran on them has ended, or ends when nothing is lacking. */
  async close(): Promise<void> {
    await this.mend();
    for (const host of hostNames) {
      this.#quotas[host]?.close();
      await this.#disks[host]?.close();
    }
  }
}

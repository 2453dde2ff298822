import { type Progress, progressToStderr } from '../packages/progress.ts';
import { startEmulatedMachine } from './emulated-machine.ts';
import type { LabError } from './errors.ts';
import { Host } from './host.ts';
import { hostImage } from './host-image.ts';
import { outerQemu, outerQemuCommand } from './outer-qemu.ts';

export interface LabOptions {
  /** How many; default 1. */
  readonly hosts?: number;
  /** Of each host; default 1024. */
  readonly memoryMib?: number;
  /** Files of this machine to have in every host, at every start of it. */
  readonly files?: readonly { readonly source: string; readonly path: string; readonly mode?: number }[];
  /** Tells what is fetched and built when the images are not there; default standard error. */
  readonly progress?: Progress;
}

/** Hosts that are up, and the network between them. */
export interface Lab {
  readonly hosts: readonly Host[];
  /** The first way in which the lab itself failed; a test that fails after this says nothing about what it tests. */
  readonly failure: LabError | undefined;
  /** Ends all of it. Safe to call twice. */
  close(): Promise<void>;
}

const defaultMemoryMib = 1024;

/** Starts `options.hosts` hosts at once; resolves when commands run on all of them. On failure nothing is left. */
export async function startLab(options: LabOptions = {}): Promise<Lab> {
  const progress = options.progress ?? progressToStderr('lab: ');
  const count = options.hosts ?? 1;
  const image = await hostImage({ progress });
  const qemu = await outerQemu({ progress });
  let failure: LabError | undefined;
  const hosts = Array.from({ length: count }, (_, index) => {
    const name = `host${index + 1}`;
    return new Host({
      name,
      address: undefined,
      boot: () => {
        const memoryMib = options.memoryMib ?? defaultMemoryMib;
        return startEmulatedMachine(outerQemuCommand(qemu, { name, memoryMib, image, network: undefined }), false);
      },
      prepare: async (host) => {
        for (const { source, path, mode } of options.files ?? []) await host.push(source, path, mode);
      },
      onFailure: (error) => {
        failure ??= error;
      },
    });
  });
  const close = async () => {
    await Promise.all(hosts.map((host) => host.powerLoss()));
  };
  try {
    await Promise.all(hosts.map((host) => host.powerOn()));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    hosts,
    get failure() {
      return failure;
    },
    close,
  };
}

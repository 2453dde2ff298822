import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { MachineConnection } from '../../src/vmm/client/machine-connection.ts';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { Pair } from '../../test/support/pair.ts';
import { working } from '../../test/support/virtio-guests.ts';
import { kernelFile, type VmmProcess } from '../../test/support/vmm-process.ts';
import { rounded } from './statistics.ts';

/**
 * How often a guest that works without a rest does the same again in a second: alone, and from when a standby is started until the guest is
 * protected, while its disk and then its RAM are copied.
 */
export interface WorkRate {
  readonly alone: number;
  readonly meanwhile: number;
}

/** `memory`: writes all over its RAM; `disk`: writes to its disk, one page after the other. */
export interface SpeedRow {
  readonly memory: WorkRate;
  readonly disk: WorkRate;
}

const MiB = 2 ** 20;
const memoryMib = 1024;
const work = { bytes: 640 * MiB, passes: 1, newBytes: MiB, diskPages: 500 } as const;
const diskBytes = 256 * MiB;
const aloneMs = 5000;
const askMs = 200;
const patienceMs = 10 * 60_000;
const flags = ['--detection', '5000'];

/** What it costs a guest that everything is copied, its RAM too. */
export async function speedWhileCopied(): Promise<SpeedRow> {
  const cleans: (() => unknown)[] = [];
  const pair = await Pair.make({ teardown: (clean) => cleans.unshift(clean) });
  try {
    const disk = { a: join(pair.folder, 'a.img'), b: join(pair.folder, 'b.img') };
    fill(disk.a);
    const primary = pair.primary(
      kernelFile(pair.folder, working(work)),
      ...['--memory', `${memoryMib}M`, '--disk', `path=${disk.a},id=root`, '--serial', 'stdio,eof=ignore', ...flags],
    );
    await primary.printed('ready');
    await does(primary, 'f');
    const monitor = await MachineConnection.open(pair.control('a'));
    cleans.unshift(() => monitor.close());
    const headline = async (): Promise<ColoStatus['headline']> =>
      ((await monitor.ask('x-colo-status')) as ColoStatus).headline;
    const rate = async (order: 'm' | 'd'): Promise<WorkRate> => {
      const end = performance.now() + aloneMs;
      const alone = await rateUntil(primary, order, () => performance.now() > end);
      // Nothing of the disk is known, so all of it is sent.
      rmSync(`${disk.b}.pair`, { force: true });
      empty(disk.b);
      const standby = pair.standby('--disk', `path=${disk.b},id=root`, ...flags);
      let isProtected = false;
      const watched = until(async () => (await headline()) === 'PROTECTED').then(() => {
        isProtected = true;
      });
      const meanwhile = await rateUntil(primary, order, () => isProtected);
      await watched;
      await standby.endedBySignal('SIGKILL');
      await until(async () => (await headline()) === 'UNPROTECTED');
      return { alone: rounded(alone, 2), meanwhile: rounded(meanwhile, 2) };
    };
    return { memory: await rate('m'), disk: await rate('d') };
  } finally {
    for (const clean of cleans) await clean();
  }
}

/** How often a second it is done until then, one after the other. */
async function rateUntil(vmm: VmmProcess, order: string, isOver: () => boolean): Promise<number> {
  const begun = performance.now();
  for (let times = 1; ; times++) {
    await does(vmm, order);
    if (isOver()) return (times * 1000) / (performance.now() - begun);
  }
}

async function does(vmm: VmmProcess, order: string): Promise<void> {
  const before = vmm.stdout.length;
  vmm.write(order);
  while (!vmm.stdout.slice(before).includes('done')) {
    if (vmm.child.exitCode !== null) throw new Error(`the guest is gone: ${vmm.stderr}`);
    await sleep(1);
  }
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error('the pair does not become what it is to be');
    await sleep(askMs);
  }
}

function fill(path: string): void {
  const file = openSync(path, 'w');
  const piece = new Uint8Array(4 * MiB);
  for (let at = 0; at < diskBytes; at += piece.length) writeSync(file, randomFillSync(piece), 0, piece.length, at);
  closeSync(file);
}

function empty(path: string): void {
  const file = openSync(path, 'w');
  ftruncateSync(file, diskBytes);
  closeSync(file);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

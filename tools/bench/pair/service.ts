import { setTimeout as sleep } from 'node:timers/promises';
import { guestPorts, page, servicesGuest } from '../../chaos/lab/guest.ts';
import { guestNetwork, otherGuest } from '../../demo/guest.ts';
import { LabPair } from '../../demo/lab-pair.ts';
import { until } from '../../demo/waiting.ts';
import { bundle } from '../../lab/bundle.ts';
import { bulkPort, bulkProgram } from './bulk.ts';
import type { Contender } from './contender.ts';
import { vmmMib } from './footprint.ts';
import { OurPair } from './ours.ts';
import { QemuPair } from './qemu.ts';
import { isBulk, type ServiceName, serviceNames } from './service-askers.ts';
import type { ServiceLoad, ServiceReading } from './service-program.ts';
import {
  type ContenderName,
  type ServiceFigures,
  type ServiceResult,
  type StandbyMemory,
  serviceFigures,
  serviceResult,
} from './service-report.ts';

/** How long each service is asked by how many, in ms. */
export interface ServiceTimes {
  readonly askers: number;
  readonly warmUpMs: number;
  readonly measuredMs: number;
}

export const wholeServices: ServiceTimes = { askers: 4, warmUpMs: 4000, measuredMs: 20_000 };
export const quickServices: ServiceTimes = { askers: 4, warmUpMs: 1000, measuredMs: 3000 };

const tries = 2;
/** Nothing fails here, and hosts of a busy machine may be silent for long. */
const detectionMs = 15_000;
/** To get an answer out of a pair that agrees on nothing may take seconds here. */
const patienceMs = 60_000;
/** So long nobody asks anything before it is looked what the standby holds. */
const idleMs = 10_000;

/**
 * What protection costs services that people run: our pair in both modes and QEMU's COLO one after the other on the same two hosts of
 * a lab, with the same guest and those who ask outside.
 */
export async function benchService(
  times: ServiceTimes,
  progress: (line: string) => void,
  names: readonly Exclude<ContenderName, 'unprotected' | 'two'>[] = ['comparing', 'buffered', 'qemu'],
  services: readonly ServiceName[] = serviceNames,
): Promise<ServiceResult> {
  const pair = await LabPair.make(progress, await servicesGuest(progress, { program: bulkProgram, port: bulkPort }));
  try {
    const found: Partial<Record<ContenderName, ServiceFigures[]>> = {};
    const failures: string[] = [];
    let unprotectedMib: number | undefined;
    let memory: StandbyMemory | undefined;
    try {
      await bootTwo(pair, (line) => progress(`two: ${line}`));
      unprotectedMib = await vmmMib(pair);
      found.two = await askTwo(pair, services, times, (line) => progress(`two: ${line}`));
    } catch (error) {
      if (pair.lab.failure !== undefined) throw pair.lab.failure;
      failures.push(`two: ${(error as Error).message}`);
    } finally {
      await pair.end();
    }
    for (const name of names) {
      const say = (line: string): void => progress(`${name}: ${line}`);
      const contender =
        name === 'qemu'
          ? await QemuPair.make(pair, progress)
          : new OurPair(pair, { isCompared: name === 'comparing', checkpointDelayMs: 20_000, detectionMs }, say);
      let isDone = false;
      for (let round = 1; round <= tries && !isDone; round++) {
        const rows: ServiceFigures[] = [];
        try {
          await contender.boot();
          // Once is enough: it is the same VMM in both modes.
          if (name !== 'qemu') found.unprotected ??= await askAll(pair, undefined, services, times, say, []);
          await contender.protect(() => {});
          await contender.setDelay(20_000);
          if (name === 'comparing' && unprotectedMib !== undefined) {
            await sleep(idleMs);
            memory = { standbyMib: await contender.standbyMib(), unprotectedMib, guestMib: pair.guest.memoryMib };
            say(`idle: ${JSON.stringify(memory)}`);
          }
          await askAll(pair, contender, services, times, say, rows);
          isDone = true;
        } catch (error) {
          if (pair.lab.failure !== undefined) throw pair.lab.failure;
          failures.push(`${name}: ${(error as Error).message}`);
          say(`failed: ${(error as Error).message}`);
        } finally {
          // Of one that fails on the way, what it did before counts.
          if (rows.length > (found[name]?.length ?? 0)) found[name] = rows;
          await contender.end();
        }
      }
    }
    return serviceResult(pair.lab.mode, found, failures, memory);
  } finally {
    await pair.close();
  }
}

/** A guest on each host, neither protected. */
async function bootTwo(pair: LabPair, say: (line: string) => void): Promise<void> {
  await pair.renew({ areTwo: true });
  for (const side of ['a', 'b'] as const) pair.start(side, say);
  await until('both guests to serve', 3 * patienceMs, async () => {
    const said = await Promise.all((['a', 'b'] as const).map((side) => pair.serial(side)));
    return said.every((text) => text.includes(pair.guest.ready));
  });
}

/** Both are asked the same. */
async function askTwo(
  pair: LabPair,
  services: readonly ServiceName[],
  times: ServiceTimes,
  say: (line: string) => void,
): Promise<ServiceFigures[]> {
  const found: ServiceFigures[] = [];
  for (const service of services) {
    const figures = serviceFigures(service, await askOne(pair, { service, ...times, other: otherGuest.address }));
    if (figures === undefined) throw new Error(`${service}: nobody was answered`);
    found.push(figures);
    say(`${service}: ${JSON.stringify(figures)}`);
  }
  return found;
}

/**
 * @param contender whose checkpoints count; undefined: the guest is not protected
 * @param found where figures are put as they come
 */
async function askAll(
  pair: LabPair,
  contender: Contender | undefined,
  services: readonly ServiceName[],
  times: ServiceTimes,
  say: (line: string) => void,
  found: ServiceFigures[],
): Promise<ServiceFigures[]> {
  for (const service of services) {
    const before = await contender?.checkpoints();
    const reading = await askOne(pair, { service, ...times });
    const after = await contender?.checkpoints();
    const figures = serviceFigures(service, reading, before, after);
    if (figures === undefined) throw new Error(`${service}: nobody was answered`);
    found.push(figures);
    say(`${service}: ${JSON.stringify(figures)}`);
  }
  return found;
}

async function askOne(
  pair: LabPair,
  load: Pick<ServiceLoad, 'service' | 'other' | keyof ServiceTimes>,
): Promise<ServiceReading> {
  const program = bundle(new URL('./service-program.ts', import.meta.url).href);
  const askers = isBulk(load.service) ? 1 : load.askers;
  const given: ServiceLoad = { ...load, askers, address: guestNetwork.address, ports: guestPorts, page };
  const { status, stdout, stderr } = await pair.lab.outside.run(
    ['node', '--input-type=module', '-e', program, '--', JSON.stringify(given)],
    { timeoutMs: load.warmUpMs + load.measuredMs + patienceMs },
  );
  if (status !== 0) throw new Error(`${load.service}: ${stderr.trim()}`);
  const reading = JSON.parse(stdout) as ServiceReading;
  if (reading.failures[0] !== undefined) throw new Error(`${load.service}: ${reading.failures[0]}`);
  return reading;
}

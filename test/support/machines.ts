import { writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { MiB } from '../../src/memory/address.ts';
import type { PanicAction } from '../../src/vmm/config/config.ts';
import { Machine } from '../../src/vmm/machine/machine.ts';
import { type DevicesConfig, noDevices } from '../../src/vmm/machine/machine-devices.ts';
import type { BootImages, BootSource } from '../../src/vmm/machine/machine-shape.ts';
import { namelessFile } from './nameless-file.ts';
import { tinyElf } from './tiny-elf.ts';
import { bundle } from './vmm-process.ts';

/** The part of a test that cleans up. */
interface Test {
  teardown(clean: () => unknown): void;
}

/** What vCPU threads of the tests' machines run. The bundle, for a thread that loads TypeScript starts slowly. */
export const vcpuProgram = pathToFileURL(bundle);

export interface MachineOptions {
  readonly cpus?: number;
  readonly program?: URL;
  readonly devices?: DevicesConfig;
  readonly onPanic?: PanicAction;
  /** Called right before the guest starts. */
  readonly starts?: () => void;
  /** A reset begins the guest anew; default: it ends the machine. */
  readonly reboots?: boolean;
  /** Takes what the operator is told. */
  readonly notice?: (text: string) => void;
}

/** A machine in this process that runs `code`. It is closed after the test, however that ends. */
export function bootMachine(t: Test, code: Uint8Array, options: MachineOptions = {}): Machine {
  const machine = new Machine(
    {
      cpus: options.cpus ?? 1,
      memoryBytes: 16 * MiB,
      cpuMask: [],
      devices: options.devices ?? noDevices,
      ...(options.onPanic === undefined ? {} : { onPanic: options.onPanic }),
    },
    options.program ?? vcpuProgram,
    options.notice,
  );
  t.teardown(() => machine.close());
  const images: BootImages = { kernel: { name: 'guest', bytes: tinyElf(code) }, commandLine: '' };
  if (options.reboots) machine.rebootsFrom(bootSource(t, images));
  options.starts?.();
  machine.boot(images);
  return machine;
}

/** What is to be begun from, without an initrd. */
export function bootSource(t: Test, images: BootImages): BootSource {
  const { kernel, commandLine } = images;
  const fd = namelessFile(t, kernel.bytes.length);
  writeSync(fd, kernel.bytes);
  return {
    descriptors: { kernel: { name: kernel.name, fd }, commandLine },
    open: () => ({ ...images, close: () => {} }),
    close: () => {},
  };
}

/** Sleeps for a while. Only where a test shows that nothing happens meanwhile. */
export function forAWhile(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves once `condition` holds. The test's own time limit ends the wait. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await forAWhile(2);
}

/** Takes what the guest printed since the last call. */
export function takeOutput(machine: Machine): string {
  const chunk = new Uint8Array(4096);
  let text = '';
  for (let count = machine.serial.takeSent(chunk); count > 0; count = machine.serial.takeSent(chunk)) {
    text += Buffer.from(chunk.subarray(0, count)).toString('latin1');
  }
  return text;
}

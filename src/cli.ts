import { isVcpuThread, vcpuMain } from './vmm/vcpu-worker.ts';

/**
 * Where every thread of the process begins. The main thread reads the command line; a vCPU thread needs nothing of it.
 *
 * @param program the file that a new thread runs; its top must lead here
 */
export function start(program: URL): void {
  if (isVcpuThread()) vcpuMain();
  else void import('./command-line.ts').then(({ main }) => main(process.argv, program));
}

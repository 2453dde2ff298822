#!/usr/bin/env node
import { isVcpuThread, vcpuMain } from './vmm/vcpu-worker.ts';

// Every thread of the process begins here: a vCPU thread needs nothing of the command line.
if (isVcpuThread()) vcpuMain();
else await (await import('./command-line.ts')).main(process.argv, new URL(import.meta.url));

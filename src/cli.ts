#!/usr/bin/env node
import { pathToFileURL } from 'node:url';
import { isVcpuThread, vcpuMain } from './vmm/vcpu-worker.ts';

// Every thread of the process begins at the file Node was started with: a vCPU thread needs nothing of the command line.
if (isVcpuThread()) vcpuMain();
else await (await import('./command-line.ts')).main(process.argv, pathToFileURL(process.argv[1] ?? ''));

import { closeSync } from 'node:fs';
import { freemem } from 'node:os';
import { openDiskFile, sectorBytes } from '../../block/disk-file.ts';
import { maxCpus } from '../../vmm/config/config.ts';
import { type DiskConfig, type NetConfig, nameOfDisk } from '../../vmm/config/device-config.ts';
import { noDevices } from '../../vmm/machine/machine-devices.ts';
import type { MachineShape as VmmShape } from '../../vmm/machine/machine-shape.ts';
import type { MachineFacts } from '../../vmm/machine/monitored-machine.ts';
import { hostProcessor } from '../../vmm/vcpu/host-processor.ts';
import { featureNames, type GuestProcessor, showsTscDeadline, vendorOf } from '../../vmm/vcpu/processor-match.ts';
import type { DiskShape, MachineShape } from '../protocol/machine-shape.ts';

/** What a shape is made of: src/vmm/machine/machine.ts. */
export interface ShapedMachine {
  readonly shape: VmmShape;
  readonly facts: MachineFacts;
  readonly processor: GuestProcessor & { readonly xsaveBytes: number };
}

/**
 * What a standby must match to take over this machine (spec B.14). Stops it for a moment.
 *
 * @throws RunStateError if it neither runs nor is paused
 */
export function shapeOfMachine({ shape, facts, processor }: ShapedMachine): MachineShape {
  const { cpuid, tscKhz, xsaveBytes } = processor;
  const { disks, nets, rng } = shape.devices ?? noDevices;
  return {
    cpus: shape.cpus,
    memoryBytes: shape.memoryBytes,
    cpuVendor: vendorOf(cpuid),
    xsaveBytes,
    cpuFeatures: featureNames(cpuid, showsTscDeadline(cpuid)),
    tscKhz,
    tscScaling: false,
    disks: facts.disks.map(({ id, path, sizeBytes, readOnly }, index) => ({
      id,
      path,
      sizeBytes,
      readOnly,
      sectorBytes: disks[index]?.sector ?? sectorBytes,
    })),
    cards: facts.cards.map(({ tap, mac }, index) => {
      const { mtu, offload } = nets[index] ?? {};
      return { tap, mac, ...(mtu === undefined ? {} : { mtu }), offload: offload ?? true };
    }),
    rng: rng.kind,
    onPanic: shape.onPanic ?? 'exit',
  };
}

/** The devices that a standby was given. */
export interface StandbyDevices {
  readonly disk: readonly DiskConfig[];
  readonly net: readonly NetConfig[];
}

/**
 * What this host could be the standby of. Memory is what is free now, and disks, which nobody may have open, are as they are now.
 *
 * @throws DiskError, KvmUnavailableError, SystemError
 */
export function shapeOfHost({ disk, net }: StandbyDevices): MachineShape {
  const { cpuid, tscKhz, scalesTsc, tscDeadline, xsaveBytes } = hostProcessor();
  return {
    cpus: maxCpus,
    memoryBytes: freemem(),
    cpuVendor: vendorOf(cpuid),
    xsaveBytes,
    cpuFeatures: featureNames(cpuid, tscDeadline),
    tscKhz,
    tscScaling: scalesTsc,
    disks: disk.map((config, index) => ({
      id: nameOfDisk(config, index),
      path: config.path,
      ...foundDisk(config),
      readOnly: config.readonly,
    })),
    cards: net.map(({ tap }) => ({ tap })),
    // It takes what P has.
    rng: 'none',
  };
}

/** As the machine would find it. */
function foundDisk(config: DiskConfig): Pick<DiskShape, 'sizeBytes' | 'isDevice'> {
  const { path, readonly, direct, overlay, format, sector } = config;
  const file = openDiskFile(path, {
    readOnly: readonly || overlay !== undefined,
    direct,
    raw: format === 'raw',
    ...(sector === undefined ? {} : { sector }),
  });
  closeSync(file.fd);
  return { sizeBytes: file.sizeBytes, ...(file.regular ? {} : { isDevice: true }) };
}

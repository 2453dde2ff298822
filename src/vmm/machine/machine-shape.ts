import type { Fd } from '../../host/libc/descriptors.ts';
import type { Closable } from '../../host/ownership.ts';
import type { GuestRam } from '../../memory/guest-ram.ts';
import type { RamBacking } from '../../memory/ram.ts';
import type { PanicAction } from '../config/config.ts';
import type { DevicesConfig } from './machine-devices.ts';

/** A file's bytes, with the name that messages use. */
export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The shape of a machine. */
export interface MachineShape {
  readonly cpus: number;
  /** Guest RAM, a multiple of the page size. */
  readonly memoryBytes: number;
  /** What it is made of; default private. */
  readonly backing?: RamBacking;
  /** RAM that has its contents already, of that size; the machine's from now on. */
  readonly ram?: GuestRam;
  /** CPU features to hide, by name. */
  readonly cpuMask: readonly string[];
  /** Disks, network cards, entropy; default none. */
  readonly devices?: DevicesConfig;
  /** Default exit. */
  readonly onPanic?: PanicAction;
}

/** What a machine boots. Needed only while it begins. */
export interface BootImages {
  readonly kernel: NamedBytes;
  readonly initrd?: NamedBytes;
  readonly commandLine: string;
  /** Move the kernel to a random virtual address; default no. */
  readonly kaslr?: boolean;
}

/** Images that are in memory until they are closed. */
export type OpenImages = BootImages & Closable;

/** An open file, with the name that messages use. */
export interface NamedFile {
  readonly name: string;
  readonly fd: Fd;
}

/** What a machine boots, as it lies in files: for whoever copies it. */
export interface BootDescriptors extends Omit<BootImages, 'kernel' | 'initrd'> {
  readonly kernel: NamedFile;
  readonly initrd?: NamedFile;
}

/** Where images come from, each time that a machine begins. It closes what it gets, and this too in the end. */
export interface BootSource extends Closable {
  /** Of what it opens, valid as long as this is open. @throws Error whose message names what is missing */
  readonly descriptors: BootDescriptors;
  /** @throws Error whose message names what is missing */
  open(): OpenImages;
}

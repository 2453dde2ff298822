import type { DiskShape, MachineShape } from '../protocol/machine-shape.ts';
import { type Hello, isOfThisVersion, type OtherHello, protocolVersion } from '../protocol/messages.ts';
import { highestTerm, type Term } from '../protocol/numbers.ts';
import type { Settings } from './settings.ts';

/** What a standby is, to a primary that greets it. */
export interface GreetedStandby {
  readonly pair: string;
  /** What its machine could be. */
  readonly shape: MachineShape;
  readonly term: Term;
  readonly settings: Settings;
}

/** Why a standby will not have a primary that greets it in that term (spec A.2.1, B.14); undefined if it will. */
export function whyNoPair(hello: Hello | OtherHello, term: Term, own: GreetedStandby): string | undefined {
  if (!isOfThisVersion(hello)) {
    return `it speaks version ${protocolVersion} of the protocol, not ${hello.version}: run the same colo-vmm on both`;
  }
  const { pair, shape } = hello;
  if (pair !== own.pair) return `it stands by for the pair "${own.pair}", not "${pair}"`;
  if (term < own.term) return newerThan(term, own);
  if (term > highestTerm) {
    return `the primary says that it is in term ${term}, and no pair gets beyond ${highestTerm}: set "term" in term.json in its --state right`;
  }
  const found = [...disagreements(hello, own.settings), ...differences(shape, own.shape)];
  return found.length === 0 ? undefined : found.join('; ');
}

/** A primary of an earlier term: what the pair has written since is not on its disks, as far as terms tell (spec B.6). */
function newerThan(term: Term, { pair, term: newer }: GreetedStandby): string {
  return (
    `its pair is in term ${newer} already, the primary in term ${term}: the newer disks are the standby's. Run the guest there, and ` +
    `make the primary its standby: colo-vmm standby --name ${pair} --listen ... If the primary's guest is certainly the right one: ` +
    `set "term" to ${newer} in term.json in the primary's --state, and protect it again: colo-vmm protect --standby ...`
  );
}

/**
 * What the two sides were told differently, of which both must know the same (spec B.6): consent that ends later for P than
 * for S, or a yes from two arbiters, would let both speak.
 */
export function disagreements(hello: Pick<Hello, 'detectMs' | 'arbiter'>, own: Settings): string[] {
  return [
    ...(hello.detectMs === own.detectMs
      ? []
      : [`it was started with --detection ${own.detectMs}, the primary with ${hello.detectMs}. Give both the same`]),
    ...(hello.arbiter === own.arbiter
      ? []
      : [`its arbiter is ${own.arbiter}, the primary's ${hello.arbiter}. Give both the same --arbiter`]),
  ];
}

/**
 * Why this standby could not take over that machine (spec B.14): sentences, each with the remedy. None: the two are equal in
 * all that a guest notices.
 */
export function differences(primary: MachineShape, standby: MachineShape): string[] {
  const found: string[] = [];
  if (primary.cpuVendor !== standby.cpuVendor) {
    found.push(
      `its processor is of ${standby.cpuVendor}, the guest's of ${primary.cpuVendor}. Use a standby with one of the same maker`,
    );
  }
  const missing = primary.cpuFeatures.filter((feature) => !standby.cpuFeatures.includes(feature));
  if (missing.length > 0) {
    const list = missing.join(', ');
    const remedy = missing.some(isUnnamed)
      ? 'Use another standby'
      : `Start the guest with --cpu-mask ${missing.join(',')}, or use another standby`;
    found.push(`its processor lacks ${list}. ${remedy}`);
  }
  if (primary.xsaveBytes !== standby.xsaveBytes) {
    found.push(
      `its processor's registers take ${standby.xsaveBytes} bytes, here ${primary.xsaveBytes}. Use a standby with the same processor`,
    );
  }
  if (!isSameFrequency(primary.tscKhz, standby.tscKhz) && !standby.tscScaling) {
    found.push(
      `its time stamp counter runs at ${standby.tscKhz} kHz, the guest's at ${primary.tscKhz}, and it cannot scale. Use a standby that can`,
    );
  }
  if (standby.memoryBytes < primary.memoryBytes) {
    found.push(
      `it has ${mebibytes(standby.memoryBytes)} of memory to give, the guest has ${mebibytes(primary.memoryBytes)}. Free memory there`,
    );
  }
  if (standby.cpus < primary.cpus) {
    found.push(`it can run ${standby.cpus} vCPUs, the guest has ${primary.cpus}. Use a standby that can run as many`);
  }
  for (const disk of primary.disks) {
    const other = standby.disks.find((candidate) => candidate.id === disk.id);
    if (other === undefined) {
      found.push(`it has no disk ${disk.id}. Start it with --disk id=${disk.id},path=...`);
    } else if (other.sizeBytes !== disk.sizeBytes) {
      found.push(
        `its disk ${other.path} has ${other.sizeBytes} bytes, this one ${disk.sizeBytes}. ${howToResize(other, disk.sizeBytes)}`,
      );
    } else if (other.readOnly && !disk.readOnly) {
      found.push(`its disk ${other.path} is read-only. Start it without readonly=on`);
    }
  }
  if (standby.cards.length !== primary.cards.length) {
    found.push(
      `it has ${standby.cards.length} network cards, the guest ${primary.cards.length}. Give it a --net tap=... for each`,
    );
  }
  return found;
}

function howToResize({ path, isDevice }: DiskShape, sizeBytes: number): string {
  return isDevice === true
    ? `Give it a device of ${sizeBytes} bytes (a logical volume: lvresize -L ${sizeBytes}b ${path}), or a file`
    : `Make them equal: truncate -s ${sizeBytes} ${path}`;
}

/** A feature that no flag can hide: cpu-features.ts has no name for it. */
function isUnnamed(feature: string): boolean {
  return feature.startsWith('CPUID ');
}

/** Frequencies that differ by less are the same oscillator's, measured twice. */
const sameFrequencyPpm = 250;

function isSameFrequency(left: number, right: number): boolean {
  return Math.abs(left - right) * 1e6 <= right * sameFrequencyPpm;
}

function mebibytes(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)} MiB`;
}

import { MiB } from '../../src/memory/address.ts';
import { Machine } from '../../src/vmm/machine/machine.ts';
import type { ClockState } from '../../src/vmm/vmstate/clock-state.ts';
import { spinning } from '../../test/support/guests.ts';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { rounded } from './statistics.ts';

/** What pauses did to a guest's clocks. */
export interface ClockDrift {
  readonly pauses: number;
  readonly seconds: number;
  /** What kvmclock has lost to the TSC by then, in nanoseconds; negative: it has gained. */
  readonly lost_ns: number;
  readonly lost_ns_a_pause: number;
  /** The most that a single pause took or gave. */
  readonly most_ns: number;
}

/** What kvmclock loses to the TSC of vCPU 0 from one reading to a later one, in nanoseconds. */
export function lostNs(from: ClockState, to: ClockState): number {
  const cycles = (to.tsc[0] as bigint) - (from.tsc[0] as bigint);
  // Beyond 2^53 nothing that matters is lost: the difference is taken first.
  const picoseconds = (cycles * 1_000_000_000n) / BigInt(from.tscKhz) - (to.kvmclockNs - from.kvmclockNs) * 1000n;
  return Number(picoseconds) / 1000;
}

/** Pauses and resumes a guest that spins, with its clocks held each time. */
export async function clockDrift(program: URL, pauses: number, progress: (line: string) => void): Promise<ClockDrift> {
  const machine = new Machine({ cpus: 1, memoryBytes: 16 * MiB, cpuMask: [] }, program);
  try {
    machine.boot({ kernel: { name: 'guest', bytes: tinyElf(spinning('x')) }, commandLine: '' });
    const readings: ClockState[] = [];
    const started = performance.now();
    for (let pause = 0; pause <= pauses; pause++) {
      machine.pause();
      readings.push(machine.save().clock);
      machine.resume();
      if (pause > 0 && pause % 1000 === 0) {
        progress(`${pause} pauses: ${lostNs(readings[0] as ClockState, readings[pause] as ClockState)} ns lost`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    const seconds = (performance.now() - started) / 1000;
    const lost = lostNs(readings[0] as ClockState, readings[pauses] as ClockState);
    const each = readings.slice(1).map((reading, index) => lostNs(readings[index] as ClockState, reading));
    return {
      pauses,
      seconds: rounded(seconds),
      lost_ns: rounded(lost),
      lost_ns_a_pause: lost / pauses,
      most_ns: rounded(each.reduce((most, ns) => Math.max(most, Math.abs(ns)), 0)),
    };
  } finally {
    await machine.close();
  }
}

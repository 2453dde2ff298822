import type { Machine } from '../machine/machine.ts';
import {
  backupsAreAStandbys,
  type ColoBackupReport,
  type ColoCommand,
  type ColoControl,
  type ColoEvent,
  type ColoListener,
  type ColoModes,
  type ColoStatus,
  type ProtectOptions,
} from '../monitor/colo-control.ts';

/** Whoever protects a machine, for as long as it runs. */
export interface MachineProtection extends ColoControl {
  /** Before the machine is closed. */
  close(): Promise<void>;
}

/** Who can protect a machine. */
export interface Protector {
  /** The machine is to be protected as soon as it runs, not when somebody asks. */
  readonly atOnce: boolean;
  /**
   * Before the guest of a machine that is in a pair runs, and after all else that may be wrong with it has been found: its disks are
   * open and locked, and have their pair's stamps still. Rejects soon when `stopping` is aborted.
   */
  prepare?(machine: Machine, stopping: AbortSignal): Promise<void>;
  /** @param notice takes a line for the operator */
  make(machine: Machine, notice: (text: string) => void): Promise<MachineProtection>;
}

/**
 * Protection that comes when somebody asks for it: most machines never are, and what it takes is loaded then.
 */
export class ProtectionOnDemand implements MachineProtection {
  readonly #make: () => Promise<MachineProtection>;
  readonly #listeners: ColoListener[] = [];
  #making: Promise<MachineProtection> | undefined;
  #made: MachineProtection | undefined;

  constructor(make: () => Promise<MachineProtection>) {
    this.#make = make;
  }

  get modes(): ColoModes {
    return this.#made?.modes ?? { mode: 'none', lastMode: 'none', reason: 'none' };
  }

  async command(command: ColoCommand): Promise<string | undefined> {
    return this.#made === undefined ? "The feature 'colo' is not enabled" : this.#made.command(command);
  }

  async status(): Promise<ColoStatus | undefined> {
    return this.#made?.status();
  }

  async events(all: boolean): Promise<readonly ColoEvent[]> {
    return this.#made?.events(all) ?? [];
  }

  async backup(path: string): Promise<ColoBackupReport> {
    if (this.#made === undefined) throw new Error(backupsAreAStandbys);
    return this.#made.backup(path);
  }

  async protect(options: ProtectOptions): Promise<void> {
    await (await this.make()).protect(options);
  }

  listen(listener: ColoListener): void {
    this.#listeners.push(listener);
    this.#made?.listen(listener);
  }

  async close(): Promise<void> {
    await (await this.#making)?.close();
  }

  /** What protects the machine, made if need be. */
  async make(): Promise<MachineProtection> {
    this.#making ??= this.#make();
    const made = await this.#making;
    if (this.#made === undefined) {
      this.#made = made;
      for (const listener of this.#listeners) made.listen(listener);
    }
    return made;
  }
}

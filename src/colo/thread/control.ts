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
} from '../../vmm/monitor/colo-control.ts';
import type { Calls, CallTable } from '../side/calls.ts';
import type { ColoCalls } from '../side/machine-calls.ts';
import { unlessClosed } from './colo-thread.ts';

/** What a side is, was, and why it is not any more, in QEMU's words (spec A.1). */
class Modes {
  current: ColoModes = { mode: 'none', lastMode: 'none', reason: 'none' };

  enter(mode: 'primary' | 'secondary'): void {
    this.current = { ...this.current, mode, reason: 'none' };
  }

  leave(mode: 'primary' | 'secondary', reason: ColoModes['reason']): void {
    this.current = { mode: 'none', lastMode: mode, reason };
  }

  /** The pair that was being made is none: it never was one that could end. */
  abandon(): void {
    this.current = { ...this.current, mode: 'none' };
  }
}

/** Fault tolerance as the monitor of either side sees it; the colo thread, while there is one, knows the rest. */
export abstract class SideControl implements ColoControl {
  protected readonly sides = new Modes();
  readonly #listeners = new Set<ColoListener>();

  get modes(): ColoModes {
    return this.sides.current;
  }

  listen(listener: ColoListener): void {
    this.#listeners.add(listener);
  }

  async command(command: ColoCommand): Promise<string | undefined> {
    const { calls } = this;
    if (calls === undefined) return "The feature 'colo' is not enabled";
    return calls.call('command', command).catch(unlessClosed);
  }

  async status(): Promise<ColoStatus | undefined> {
    return this.calls?.call('status', undefined).catch(unlessClosed);
  }

  async events(all: boolean): Promise<readonly ColoEvent[]> {
    return (await this.calls?.call('events', { all }).catch(unlessClosed)) ?? [];
  }

  async backup(path: string): Promise<ColoBackupReport> {
    const { calls } = this;
    if (calls === undefined) throw new Error(backupsAreAStandbys);
    return calls.call('backup', { path });
  }

  abstract protect(options: ProtectOptions): Promise<void>;

  /** Name of the pair that it is a side of. */
  abstract get pair(): string | undefined;

  /** The colo thread's; absent: there is none. */
  abstract get calls(): Calls<ColoCalls, CallTable> | undefined;

  protected happened(event: ColoEvent): void {
    for (const listener of this.#listeners) listener.happened(event, this.pair);
  }

  protected exited(mode: 'primary' | 'secondary', reason: string): void {
    this.sides.leave(mode, reason as ColoModes['reason']);
    for (const listener of this.#listeners) listener.exited(mode, reason);
  }
}

import type { MachineEvent } from '../machine/machine-events.ts';
import type { MonitoredMachine } from '../machine/monitored-machine.ts';
import type { RunState } from '../machine/run-state.ts';
import type { SnapshotOptions, SnapshotReport } from '../snapshot/snapshotter.ts';
import { migrationStatus } from './colo/migration-info.ts';
import { MigrationSettings } from './colo/migration-settings.ts';
import type { ColoControl } from './colo-control.ts';
import { type EventName, qmpEvents } from './qmp-events.ts';
import type { Json } from './qmp-protocol.ts';

/** QMP's names for our run states. */
const statusNames: Readonly<Record<RunState, string>> = {
  created: 'prelaunch',
  running: 'running',
  paused: 'paused',
  colo: 'colo',
  ended: 'shutdown',
};

export type IoStatus = 'ok' | 'failed' | 'nospace';

/** Takes snapshots of the machine, for clients. */
export interface SnapshotTaker {
  take(path: string, options?: SnapshotOptions): Promise<SnapshotReport>;
}

export interface MonitorOptions {
  readonly name?: string;
  /** Absent: there are none to be had. */
  readonly snapshots?: SnapshotTaker;
  /** The machine's fault tolerance. Absent: it cannot be protected. With it, a machine that is created is a standby's. */
  readonly colo?: ColoControl | undefined;
  /** Microseconds since 1970. */
  readonly clock?: () => number;
}

/** What all clients of a machine share: the machine, what is known of its disks, and who hears of events. */
export class Monitor {
  readonly machine: MonitoredMachine;
  readonly colo: ColoControl | undefined;
  readonly migration = new MigrationSettings();
  readonly name: string | undefined;
  readonly snapshots: SnapshotTaker | undefined;
  readonly #clock: () => number;
  /** As clients heard it last. */
  #migration = 'none';
  readonly #subscribers = new Set<(event: Json) => void>();
  /** The guest's kernel panicked, and the machine was paused for it. */
  #panicked = false;
  /** Disks that made the machine stop, until it goes on. */
  readonly #failedDisks = new Map<string, IoStatus>();

  constructor(machine: MonitoredMachine, options: MonitorOptions = {}) {
    this.name = options.name;
    this.snapshots = options.snapshots;
    this.#clock = options.clock ?? (() => (performance.timeOrigin + performance.now()) * 1000);
    this.machine = machine;
    this.colo = options.colo;
    machine.events.listen((event) => this.#hear(event));
    if (options.colo !== undefined) this.#hearOf(options.colo);
  }

  /** QMP's RunState. */
  get status(): string {
    const { state } = this.machine;
    if (state === 'created' && this.colo !== undefined) {
      return this.colo.modes.mode === 'secondary' ? 'colo' : 'inmigrate';
    }
    if (state === 'paused' && this.#panicked) return 'guest-panicked';
    return state === 'paused' && this.#failedDisks.size > 0 ? 'io-error' : statusNames[state];
  }

  /** QMP's BlockDeviceIoStatus. */
  ioStatusOf(disk: string): IoStatus {
    return this.#failedDisks.get(disk) ?? 'ok';
  }

  /** Gives events to `subscriber` until the function that is returned is called. */
  subscribe(subscriber: (event: Json) => void): () => void {
    this.#subscribers.add(subscriber);
    return () => this.#subscribers.delete(subscriber);
  }

  #hearOf(colo: ColoControl): void {
    const tellMigration = (): void => {
      if (this.migration.events) void this.#tellMigration(colo);
    };
    colo.listen({
      happened: (event) => {
        this.#send('X_COLO_EVENT', { ...event });
        tellMigration();
      },
      exited: (mode, reason) => {
        this.#send('COLO_EXIT', { mode, reason });
        // Nothing else need happen after a takeover.
        tellMigration();
      },
    });
  }

  #hear(event: MachineEvent): void {
    if (event.kind === 'resumed' || event.kind === 'reset') {
      this.#failedDisks.clear();
      this.#panicked = false;
    }
    if (event.kind === 'panicked') this.#panicked = event.action === 'pause';
    if (event.kind === 'disk-failure' && event.failure.stops) {
      this.#failedDisks.set(event.failure.disk, event.failure.noSpace ? 'nospace' : 'failed');
    }
    for (const [name, data] of qmpEvents(event)) this.#send(name, data);
  }

  /** QMP's MIGRATION, for clients that want it, when it is not what they heard last. */
  async #tellMigration(colo: ColoControl): Promise<void> {
    const status = migrationStatus(await colo.status(), colo.modes);
    if (status === this.#migration) return;
    this.#migration = status;
    this.#send('MIGRATION', { status });
  }

  #send(event: EventName, data: Json | undefined): void {
    const microseconds = Math.floor(this.#clock());
    const timestamp = { seconds: Math.floor(microseconds / 1e6), microseconds: microseconds % 1e6 };
    const message = { timestamp, event, ...(data === undefined ? {} : { data }) };
    for (const subscriber of this.#subscribers) subscriber(message);
  }
}

import type {
  ColoBackupReport,
  ColoCommand,
  ColoControl,
  ColoEvent,
  ColoListener,
  ColoModes,
  ColoStatus,
  ProtectOptions,
} from '../../src/vmm/monitor/colo-control.ts';

/** A primary that is protected, an hour and two minutes. */
export const protectedStatus: ColoStatus = {
  pair: 'web',
  role: 'primary',
  headline: 'PROTECTED',
  since: Date.UTC(2026, 10, 28, 14, 2, 11),
  why: 'its standby has all of it',
  phase: 'protected',
  term: 1,
  link: { peer: 'b.example', security: 'tls', lastHeardMsAgo: 12 },
  address: 'b.example:7000',
  mode: 'buffered',
  checkpointDelayMs: 500,
  epoch: 15_205,
  checkpoint: { epoch: 15_204, msAgo: 180, reasons: ['output'] },
  stops: {
    median: 0.9,
    worst: 2.1,
    count: 119,
    pages: 611,
    parts: { vcpus: 0.2, devices: 0.2, copy: 0.4, clocks: 0.04, resume: 0.1 },
  },
  held: { packets: 2, bytes: 1434, oldestMs: 2 },
  disk: { logBytes: 98_304 },
  arbiter: { name: 'etcd http://c:2379', answeredInMs: 3, answeredMsAgo: 400 },
};

/** Fault tolerance without a pair, for a monitor: it notes what it is asked, and says what a test has it say. */
export class FakeColo implements ColoControl {
  modes: ColoModes = { mode: 'primary', lastMode: 'none', reason: 'none' };
  current: ColoStatus | undefined = protectedStatus;
  /** What it refuses a command with. */
  refusal: string | undefined;
  /** How often its status was asked for. */
  answers = 0;
  readonly asked: (ColoCommand | ProtectOptions)[] = [];
  readonly backups: string[] = [];
  readonly log: ColoEvent[] = [];
  #listener: ColoListener | undefined;

  async command(command: ColoCommand): Promise<string | undefined> {
    this.asked.push(command);
    return this.refusal;
  }

  async status(): Promise<ColoStatus | undefined> {
    this.answers++;
    return this.current;
  }

  async events(all: boolean): Promise<readonly ColoEvent[]> {
    return this.log.filter(({ topic }) => all || (topic !== 'message' && topic !== 'checkpoint'));
  }

  async backup(path: string): Promise<ColoBackupReport> {
    this.backups.push(path);
    if (this.refusal !== undefined) throw new Error(this.refusal);
    return { path, epoch: 12, totalBytes: 1 << 30, writtenBytes: 1 << 20 };
  }

  async protect(options: ProtectOptions): Promise<void> {
    this.asked.push(options);
    if (this.refusal !== undefined) throw new Error(this.refusal);
  }

  listen(listener: ColoListener): void {
    this.#listener = listener;
  }

  /** Something happens. */
  happen(event: ColoEvent): void {
    this.log.push(event);
    this.#listener?.happened(event, 'web');
  }

  exit(mode: 'primary' | 'secondary', reason: ColoModes['reason']): void {
    this.modes = { mode: 'none', lastMode: mode, reason };
    this.#listener?.exited(mode, reason);
  }
}

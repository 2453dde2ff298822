import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { trimHeap } from '../../host/libc/memory.ts';
import { bootTimeMs } from '../../host/system/clock.ts';
import type { Machine } from '../../vmm/machine/machine.ts';
import type {
  ColoBackupReport,
  ColoCommand,
  ColoEvent,
  ColoModes,
  ColoStatus,
  ProtectOptions,
} from '../../vmm/monitor/colo-control.ts';
import { exitCodeOf } from '../../vmm/vcpu/guest-end.ts';
import { type SecondaryConfig, survivorConfig } from '../command/pair-config.ts';
import { removePartial } from '../disk/backup/backup-folder.ts';
import { KeptBoot } from '../machine/kept-boot.ts';
import { type StandbyDevices, shapeOfHost } from '../machine/machine-shapes.ts';
import { StandbyMachine } from '../machine/standby-machine.ts';
import { type Calls, CallsClosedError, type CallTable, type Handlers } from '../side/calls.ts';
import { EventLog, type Past } from '../side/event-log.ts';
import type { Heritage } from '../side/heritage.ts';
import type { ColoCalls, SecondaryMachineCalls } from '../side/machine-calls.ts';
import { ColoThread } from './colo-thread.ts';
import { SideControl } from './control.ts';
import { PrimaryControl } from './primary-control.ts';

/** What a standby tells its owner. */
export interface StandbyListener {
  notice(text: string): void;
  /** It has taken over: this machine runs. */
  live(machine: Machine): void;
  /** It ends, in order, with that exit code. */
  ended(exitCode: number): void;
}

/**
 * The secondary's side, on the thread that owns the machine. After a takeover that is a primary's, of the same machine
 * (spec B.7).
 */
export class StandbyControl extends SideControl {
  readonly #thread: ColoThread<SecondaryMachineCalls>;
  readonly #holder = randomUUID();
  #pair: SecondaryConfig;
  readonly #config: StandbyDevices;
  readonly #program: URL;
  #made: StandbyMachine | undefined;
  /** Since it has taken over. */
  #primary: PrimaryControl | undefined;
  /** The last backup, made or not, of which nothing partial is left. */
  #backup: Promise<unknown> = Promise.resolve();
  readonly #listener: StandbyListener;
  /** Whoever decides is gone. */
  #isOver = false;

  constructor(config: SecondaryConfig, machine: StandbyDevices, program: URL, listener: StandbyListener) {
    super();
    this.#listener = listener;
    this.#pair = config;
    this.#config = machine;
    this.#program = program;
    this.#thread = new ColoThread(
      program,
      { role: 'secondary', config, holder: this.#holder, shape: shapeOfHost(machine) },
      this.#handlers(),
      (reason) => this.#died(reason),
    );
  }

  override get modes(): ColoModes {
    const modes = this.#primary?.modes;
    return modes === undefined || (modes.mode === 'none' && modes.lastMode === 'none') ? super.modes : modes;
  }

  override async command(command: ColoCommand): Promise<string | undefined> {
    if (command.name !== 'set-checkpoint-delay' || this.#primary !== undefined) return super.command(command);
    // Its checkpoints are its primary's: this is for those that it makes itself, once it has taken over.
    const { settings } = this.#pair;
    this.#pair = { ...this.#pair, settings: { ...settings, checkpointDelayMs: command.delayMs } };
    return undefined;
  }

  override async status(): Promise<ColoStatus | undefined> {
    const status = await super.status();
    if (status === undefined || this.#primary !== undefined) return status;
    return { ...status, checkpointDelayMs: this.#pair.settings.checkpointDelayMs };
  }

  override protect(options: ProtectOptions): Promise<void> {
    if (this.#primary !== undefined) return this.#primary.protect(options);
    return Promise.reject(new Error('this is the standby of its pair'));
  }

  override events(all: boolean): Promise<readonly ColoEvent[]> {
    return this.#primary === undefined ? super.events(all) : this.#primary.events(all);
  }

  override backup(path: string): Promise<ColoBackupReport> {
    if (this.#primary !== undefined) return this.#primary.backup(path);
    const thread = this.#thread;
    const made = super.backup(path).catch(async (error: unknown) => {
      if (!(error instanceof CallsClosedError)) throw error;
      // Its thread was ended in the middle of it, and has removed nothing.
      await thread.ended;
      await removePartial(path);
      throw new Error(
        `this standby has ended, or has taken over: unless ${path} is there and whole, there is no backup`,
      );
    });
    this.#backup = Promise.allSettled([this.#backup, made]);
    return made;
  }

  /** Has the primary go on without it, in order: nobody has to be asked then. What takes longer than `patienceMs` is not waited for. */
  async leave(patienceMs: number): Promise<void> {
    const deadline = performance.now() + patienceMs;
    if ((await this.command({ name: 'unprotect', stops: true })) !== undefined) return;
    while (performance.now() < deadline) {
      const status = await this.status();
      if (status === undefined || status.headline === 'LISTENING') return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Nobody protects the machine any more. Before it is closed. */
  async endProtection(): Promise<void> {
    await this.#primary?.close();
  }

  /** Lets everything go. */
  async close(): Promise<void> {
    await this.#primary?.close();
    await this.#thread.close();
    await this.#backup;
    await this.#made?.discard();
  }

  override get pair(): string {
    return this.#primary?.pair ?? this.#pair.pair;
  }

  override get calls(): Calls<ColoCalls, CallTable> | undefined {
    return this.#primary === undefined ? (this.#thread.calls as Calls<ColoCalls, CallTable>) : this.#primary.calls;
  }

  #handlers(): Handlers<SecondaryMachineCalls> {
    return {
      shape: () => shapeOfHost(this.#config),
      make: async ({ shape, compares }) => {
        await this.#discard();
        const made = new StandbyMachine(
          shape,
          this.#config,
          this.#program,
          (text) => this.#listener.notice(text),
          compares?.bell,
        );
        this.#made = made;
        this.sides.enter('secondary');
        const { ram, devices } = made.shared;
        const views = { memory: ram, devices, io: made.machine.replication.ioReach };
        const { replica } = made;
        if (replica === undefined) return views;
        replica.onEnd = (end) => this.calls?.tell('guestEnded', { exitCode: exitCodeOf(end) });
        const { changed, shared: packets } = replica;
        return { ...views, replica: { packets, changed } };
      },
      rehearse: (state) => {
        const { checkMs, loadMs } = this.#machine.rehearse(state);
        return checkMs + loadMs;
      },
      keepBoot: (sizes) => {
        const kept = new KeptBoot(this.#pair.stateDirectory, sizes);
        this.#machine.boot = kept;
        return kept.descriptors;
      },
      park: async () => {
        this.#machine.replica?.park();
        // An end that a vCPU reported before it parked is told before the answer. A turn of the loop may have begun before it was.
        await setImmediate();
        await setImmediate();
      },
      rollBack: () => this.#machine.replica?.rollBack(),
      start: ({ state, epoch, stoppedAt }) => {
        const { checkMs, loadMs, exitCode } = this.#machine.start(state, epoch, bootTimeMs() - stoppedAt);
        if (exitCode !== undefined) this.calls?.tell('guestEnded', { exitCode });
        return checkMs + loadMs;
      },
      hold: () => {
        const ended = this.#machine.hold();
        return ended === undefined ? {} : { exitCode: exitCodeOf(ended) };
      },
      emerge: (translation) => this.#machine.emerge(translation),
      discard: () => {
        this.sides.abandon();
        return this.#discard();
      },
      revive: ({ state, stoppedAt }) => {
        const movedMs = bootTimeMs() - stoppedAt;
        const { checkMs, loadMs, exitCode } = this.#machine.revive(state, movedMs);
        return { loadMs: checkMs + loadMs, movedMs, ...(exitCode === undefined ? {} : { exitCode }) };
      },
      replay: (packets) => this.#machine.machine.replication.replay(packets),
      keepChanges: (changes) => this.#machine.machine.replication.keepChanges(changes),
      announce: () => this.#machine.announce(),
      resume: () => {
        this.#machine.resume();
        this.#listener.live(this.#machine.machine);
      },
      succeed: ({ heritage, past }) => {
        void this.#succeed(heritage, past);
        return undefined;
      },
      exit: ({ exitCode }) => {
        this.#listener.ended(exitCode);
        return undefined;
      },
      logged: (event) => {
        this.happened(event);
        if (event.topic !== 'consent') this.#listener.notice(event.text);
        return undefined;
      },
      coloExit: ({ mode, reason }) => {
        this.exited(mode, reason);
        return undefined;
      },
      failed: ({ reason }) => {
        this.#died(reason);
        return undefined;
      },
    };
  }

  get #machine(): StandbyMachine {
    if (this.#made === undefined) throw new Error('there is no machine');
    return this.#made;
  }

  /** It has taken over: the machine is a primary's, which waits for a standby. The thread of the standby is not needed any more. */
  async #succeed(heritage: Heritage, past: Past): Promise<void> {
    // Whoever comes after it appends to the same file.
    await this.#thread.endRecording();
    this.#machine.settle((text) => this.#listener.notice(text));
    const primary = new PrimaryControl(
      this.#machine.machine,
      this.#program,
      { name: this.#pair.pair, holder: this.#holder },
      (text) => this.#listener.notice(text),
    );
    primary.listen({
      happened: (event) => this.happened(event),
      exited: (mode, reason) => this.exited(mode, reason),
    });
    try {
      primary.start(survivorConfig(this.#pair, heritage), { heritage, past });
    } catch (error) {
      // A guest that has ended meanwhile needs nobody.
      this.#listener.notice(`this machine cannot be protected again: ${(error as Error).message}`);
      return;
    }
    this.#primary = primary;
    await this.#thread.close();
    // All of the guest's RAM has gone through it.
    trimHeap();
  }

  async #discard(): Promise<void> {
    const made = this.#made;
    this.#made = undefined;
    await made?.discard();
  }

  #died(reason: string): void {
    // A thread that goes on all the same may say so again and again.
    if (this.#isOver) return;
    this.#isOver = true;
    const log = new EventLog(bootTimeMs, (event) => this.happened(event));
    log.add('protection', `this standby cannot take over any more: ${reason}`, 'fenced');
    this.#listener.notice(reason);
    this.#listener.ended(1);
  }
}

import { randomUUID } from 'node:crypto';
import { bootTimeMs } from '../../host/system/clock.ts';
import { ConfigError } from '../../vmm/config/config.ts';
import type { Machine } from '../../vmm/machine/machine.ts';
import type { MachineEvent } from '../../vmm/machine/machine-events.ts';
import type { BootDescriptors } from '../../vmm/machine/machine-shape.ts';
import type { ColoEvent, ProtectOptions } from '../../vmm/monitor/colo-control.ts';
import { EpochSeed, OpenEpoch } from '../../vmm/platform/shared-protection.ts';
import { exitCode, exitCodeOf, type GuestEnd } from '../../vmm/vcpu/guest-end.ts';
import { type HostPort, showHostPort } from '../command/host-port.ts';
import { type PrimaryConfig, parsePrimary } from '../command/pair-config.ts';
import { refusals } from '../core/commands.ts';
import { whyFailed } from '../disk/disk-failure.ts';
import { diskViews, historyDisk } from '../disk/disk-view.ts';
import type { InheritedChanges } from '../disk/history/primary-changes.ts';
import { CheckpointSource } from '../machine/checkpoint-source.ts';
import { shapeOfMachine } from '../machine/machine-shapes.ts';
import { bootBytes } from '../memory/boot-messages.ts';
import { mostBootBytes } from '../protocol/messages.ts';
import type { Calls, CallTable, Handlers } from '../side/calls.ts';
import { DiskAlarm } from '../side/disk-alarm.ts';
import { EventLog, type Past } from '../side/event-log.ts';
import type { PrimaryPast } from '../side/heritage.ts';
import type { ColoCalls, PrimaryMachineCalls } from '../side/machine-calls.ts';
import { beginTerm } from './begin-term.ts';
import { ColoThread, unlessClosed } from './colo-thread.ts';
import { SideControl } from './control.ts';
import { EndPatience } from './end-patience.ts';

/** Where standbys came to until now they come to still, unless it was said anew. */
function keptDoor({ listen }: ProtectOptions, before: HostPort | undefined): Pick<ProtectOptions, 'listen'> {
  return listen !== undefined || before === undefined ? {} : { listen: showHostPort(before) };
}

/** What a process knows of a pair before a colo thread protects its machine. */
export interface BeforeProtection extends PrimaryPast {
  /** What has happened. */
  readonly past?: Past | undefined;
}

/** The primary's side, on the thread that owns the machine. */
export class PrimaryControl extends SideControl {
  readonly #machine: Machine;
  readonly #program: URL;
  #config: PrimaryConfig | undefined;
  readonly #name: string | undefined;
  readonly #holder: string;
  readonly #notice: (text: string) => void;
  #thread: ColoThread<PrimaryMachineCalls> | undefined;
  #source: CheckpointSource | undefined;
  #attached = false;
  /** What happens while there is no colo thread, which goes on with it when there is one. */
  #log = this.#newLog();
  #disks = new DiskAlarm(this.#log, bootTimeMs);
  readonly #ending = new EndPatience(
    () => this.#thread?.calls.tell('endOverdue', undefined),
    () => this.#machine.finishEnd(),
  );
  /** The guest has ended, and is kept until its last answers have left. */
  #endedWith: number | undefined;
  /** The last attempt to protect it that somebody asked for, whatever came of it. */
  #protecting: Promise<unknown> = Promise.resolve();

  /**
   * @param name of the machine, and of its pair unless that is given
   * @param holder who this process is to an arbiter: an id that no other process ever had
   * @param notice takes a line for the operator
   */
  constructor(
    machine: Machine,
    program: URL,
    { name, holder = randomUUID() }: { readonly name?: string | undefined; readonly holder?: string },
    notice: (text: string) => void,
  ) {
    super();
    this.#holder = holder;
    this.#machine = machine;
    this.#program = program;
    this.#name = name;
    this.#notice = notice;
    machine.events.listen((event) => this.#hear(event));
  }

  /**
   * One after the other: of two that ask the arbiter at a time, one would begin a term that the other's pair is not in, or one a colo
   * thread that nobody knows any more.
   *
   * @throws ConfigError; Error if it is protected already, or about to be
   */
  protect(options: ProtectOptions): Promise<void> {
    const protecting = this.#protecting.then(() => this.#protect(options));
    this.#protecting = protecting.catch(() => {});
    return protecting;
  }

  async #protect(options: ProtectOptions): Promise<void> {
    const { insists = false, listen, pcap } = this.#config ?? {};
    const config = parsePrimary(
      { ...options, name: options.name ?? this.#name, pcap, ...keptDoor(options, listen) },
      // Who has its door open waits for whoever comes.
      insists || options.listen !== undefined,
    );
    const thread = this.#thread;
    const before = await this.status();
    if (thread !== undefined) {
      const phase = before?.phase ?? 'unprotected';
      if (phase !== 'unprotected') {
        const refusal = await this.command({ name: 'protect' });
        // It is not refused if protection has ended in this moment; then it begins anew as it was.
        if (refusal !== undefined) throw new Error(refusal);
        return;
      }
      if (this.#attached) throw new Error('the last attempt to protect this machine is not undone yet; try again');
    }
    // It tries no more by itself: a pair that it made meanwhile would be torn apart without a word.
    const wasSought = (await this.command({ name: 'unprotect', stops: true })) === undefined;
    try {
      await beginTerm(config, this.#holder, { goesOn: wasSought });
    } catch (error) {
      if (wasSought && this.#thread === thread) await this.command({ name: 'protect' });
      throw error;
    }
    const changes = await this.#changesFor(config, thread);
    const past = await thread?.calls.call('past', undefined).catch(unlessClosed);
    if (this.#thread !== thread || this.#attached) throw new Error(refusals.protecting);
    // What it was told before is another standby, perhaps.
    this.#thread = undefined;
    await thread?.close();
    this.start({ ...config, insists: insists || wasSought }, { past, before, changes });
  }

  /** What that thread, which is idle, knows of the disks, if that is written down where this pair looks for it. */
  async #changesFor(
    { pair, stateDirectory }: PrimaryConfig,
    thread: ColoThread<PrimaryMachineCalls> | undefined,
  ): Promise<InheritedChanges | undefined> {
    if (pair !== this.#config?.pair || stateDirectory !== this.#config.stateDirectory) return undefined;
    return await thread?.calls.call('handOverChanges', undefined).catch(unlessClosed);
  }

  /**
   * Starts the colo thread, which protects the machine from now on. Its term has begun: see beginTerm, or a takeover.
   *
   * @param before what this process knows of the pair already
   */
  start(config: PrimaryConfig, { past, ...before }: BeforeProtection = {}): void {
    const { state } = this.#machine;
    if (state !== 'running' && state !== 'paused')
      throw new ConfigError(`a machine that is ${state} cannot be protected`);
    this.#config = config;
    if (past !== undefined) this.#log.inherit(past);
    const boot = this.#boot;
    const disks = diskViews(this.#machine.replication.deviceOrders).map(historyDisk);
    this.#thread = new ColoThread(
      this.#program,
      {
        role: 'primary',
        config,
        disks,
        holder: this.#holder,
        shape: shapeOfMachine(this.#machine),
        past: this.#log.past,
        boot,
        ...before,
      },
      this.#handlers(),
      (reason) => this.#died(reason),
    );
    this.#log = this.#newLog();
    this.#disks = new DiskAlarm(this.#log, bootTimeMs);
  }

  override async events(all: boolean): Promise<readonly ColoEvent[]> {
    return this.#thread === undefined ? this.#log.recent(all) : super.events(all);
  }

  /** Before the machine is closed. */
  async close(): Promise<void> {
    const thread = this.#thread;
    this.#thread = undefined;
    this.#ending.close();
    await thread?.close();
    this.#source?.detach();
  }

  override get pair(): string | undefined {
    return this.#config?.pair;
  }

  override get calls(): Calls<ColoCalls, CallTable> | undefined {
    return this.#thread?.calls as Calls<ColoCalls, CallTable> | undefined;
  }

  #handlers(): Handlers<PrimaryMachineCalls> {
    const machine = this.#machine;
    return {
      attach: (shared) => {
        this.#source?.detach();
        const source = new CheckpointSource(machine, new OpenEpoch(shared.epoch), new EpochSeed(shared.seed));
        this.#source = source;
        try {
          machine.replication.protect(shared);
        } catch (error) {
          // Nobody detaches what was not attached, and a guest that nobody protects pays for no dirty log.
          source.detach();
          this.#source = undefined;
          throw error;
        }
        machine.keepEnd((end) => this.#guestEnded(end));
        this.#attached = true;
        this.sides.enter('primary');
        return {
          memory: source.shared,
          devices: machine.replication.deviceOrders,
          io: machine.replication.ioReach,
          vcpus: machine.replication.vcpuReach,
        };
      },
      collect: () => this.#sourceNow.collect(),
      capture: ({ epoch }) => this.#sourceNow.capture(epoch, this.#endedWith),
      detach: () => {
        // First, for it may fail, and is asked for again then.
        if (machine.state !== 'ended') machine.replication.unprotect();
        this.#attached = false;
        this.sides.abandon();
        machine.keepEnd(undefined);
        this.#source?.detach();
        this.#source = undefined;
        return undefined;
      },
      hold: () => {
        if (machine.state !== 'ended') machine.hold();
        return undefined;
      },
      stepDown: () => {
        machine.keepEnd(undefined);
        machine.stop('a switchover: its guest runs on the other host', exitCode.handedOver);
        return undefined;
      },
      exit: () => machine.finishEnd(),
      logged: (event) => {
        this.happened(event);
        if (event.topic !== 'consent') this.#notice(event.text);
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

  #newLog(): EventLog {
    return new EventLog(bootTimeMs, (event) => this.happened(event));
  }

  #hear(event: MachineEvent): void {
    const calls = this.#thread?.calls;
    if (event.kind === 'reset') calls?.tell('guestReset', undefined);
    if (event.kind === 'resumed') {
      this.#disks.resumed();
      calls?.tell('guestResumed', undefined);
    }
    if (event.kind === 'disk-failure') {
      const { failure } = event;
      const error = whyFailed(failure);
      // Of what cannot be read the guest is told, and nobody else is to go on instead.
      const counts = this.#attached && failure.operation !== 'read';
      if (calls === undefined) this.#disks.failed(error);
      else calls.tell('diskFailed', { error, counts });
    }
  }

  /** Its last answers are to leave, and its standby ends with it. */
  #guestEnded(end: GuestEnd): void {
    const code = exitCodeOf(end);
    this.#endedWith = code;
    this.#thread?.calls.tell('guestEnded', { exitCode: code });
    this.#ending.begin(end);
  }

  /** What a standby is to have of what the guest boots. */
  get #boot(): BootDescriptors | undefined {
    const boot = this.#machine.bootSource?.descriptors;
    if (boot === undefined) return undefined;
    const bytes = bootBytes(boot);
    if (bytes <= mostBootBytes) return boot;
    this.#notice(
      `a standby keeps no kernel and initrd of more than ${mostBootBytes / 2 ** 20} MiB, and these have ${Math.ceil(bytes / 2 ** 20)}: after a takeover, a reset ends the machine`,
    );
    return undefined;
  }

  get #sourceNow(): CheckpointSource {
    if (this.#source === undefined) throw new Error('the machine is not protected');
    return this.#source;
  }

  /** Whoever decided what leaves is gone. A guest whose output is held can only be ended: its standby has all of it. */
  #died(reason: string): void {
    const thread = this.#thread;
    // One that goes on all the same may say so again and again.
    if (thread === undefined || this.#machine.state === 'ended') return;
    const text = `protection failed: ${reason}`;
    this.#notice(text);
    this.#log.add('protection', text, this.#attached ? 'fenced' : 'unprotected');
    this.#machine.finishEnd();
    if (this.#attached) this.#machine.stop('a failure of its protection', 1);
    else {
      this.#thread = undefined;
      void thread.close();
      this.exited('primary', 'error');
    }
  }
}

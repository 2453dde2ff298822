import * as v from 'valibot';
import type { Fd } from '../../host/libc/descriptors.ts';
import { pageSize } from '../../memory/address.ts';
import { CheckpointedMemory, type CheckpointPages } from '../../memory/checkpointed-memory.ts';
import { minimumRamBytes } from '../../memory/layout.ts';
import { maxCpus } from '../../vmm/config/config.ts';
import { type DiskConfig, disks, type NetConfig, nameOfDisk, nets } from '../../vmm/config/device-config.ts';
import type { DeviceOrder } from '../../vmm/io/device-orders.ts';
import { Machine } from '../../vmm/machine/machine.ts';
import type { BootSource } from '../../vmm/machine/machine-shape.ts';
import type { GuestEnd } from '../../vmm/vcpu/guest-end.ts';
import type { MachineShape } from '../protocol/machine-shape.ts';
import type { Epoch } from '../protocol/numbers.ts';
import { ProtocolError } from '../protocol/protocol-error.ts';
import type { LiveTranslation } from '../translate/live-translator.ts';
import { roundTripTicks } from '../translate/settings.ts';
import { goesOn, type TranslatorState } from '../translate/translator-state.ts';
import { decodeState } from './checkpoint-state.ts';
import type { StandbyDevices } from './machine-shapes.ts';
import { movedClock, nanoseconds } from './moved-clock.ts';
import { Replica } from './replica.ts';
import { Settling } from './settling.ts';

/** What the main thread shares with the colo thread so that this one keeps S's RAM, disks and packets. */
export interface SharedStandby {
  /** Where pages of checkpoints go. */
  readonly ram: CheckpointPages;
  /** Open as long as the machine is. */
  readonly devices: readonly DeviceOrder[];
}

/** What became of a state, and how long it took on the main thread, in ms. */
export interface Revived {
  /** Checking the state. */
  readonly checkMs: number;
  /** Loading it into KVM and the devices. */
  readonly loadMs: number;
  /** The guest had ended, so: it is not to run, and the machine ends with this. */
  readonly exitCode?: number;
}

/**
 * The machine of a standby, on the main thread: made when a pair is made, it holds nothing, in run state `colo`, until a takeover
 * gives it the state of the last checkpoint; its RAM has been filled by then (memory/page-receiver.ts). One for each pairing.
 *
 * Its console is mute: what its guest had printed and the primary's console not is the primary's.
 */
export class StandbyMachine {
  readonly machine: Machine;
  /** Of a machine whose guest may run beside the primary's. */
  readonly replica: Replica | undefined;
  /** Of the state that was loaded last. */
  #translation: TranslatorState | undefined;
  /** When the state's clock was moved, on this process's clock in ms. */
  #movedAt = 0;
  #closed: Promise<void> | undefined;
  #settling: Settling | undefined;
  /** What P's guest boots, while this one's does not speak for itself. */
  #boot: BootSource | undefined;

  /**
   * @param shape of the primary, which {@link differences} has found nothing wrong with
   * @param config what the owner of a standby decides; all else is the primary's
   * @param bell rung when its guest says something; given: its guest may run beside the primary's (comparing)
   * @throws ProtocolError if no machine has this shape; ConfigError, DiskError, TapError, KvmUnavailableError, SystemError
   */
  constructor(
    shape: MachineShape,
    config: StandbyDevices,
    program: URL,
    notice: (text: string) => void = () => {},
    bell?: Fd,
  ) {
    const { cpus, memoryBytes, rng, onPanic } = shape;
    if (!(cpus >= 1 && cpus <= maxCpus)) throw impossible(`${cpus} vCPUs`);
    if (!(memoryBytes >= minimumRamBytes && memoryBytes % pageSize === 0))
      throw impossible(`${memoryBytes} bytes of RAM`);
    this.machine = new Machine(
      {
        cpus,
        memoryBytes,
        ...(bell === undefined ? {} : { ram: new CheckpointedMemory(memoryBytes) }),
        cpuMask: [],
        devices: {
          disks: disksOf(shape, config),
          nets: cardsOf(shape, config),
          keepsPairStamps: true,
          // What it is at comes with the state.
          rng: rng === 'seed' ? { kind: 'seed', seed: 0 } : { kind: rng },
        },
        ...(onPanic === undefined ? {} : { onPanic }),
      },
      program,
      notice,
    );
    try {
      this.machine.hold();
      if (bell !== undefined) this.replica = new Replica(this.machine, shape.cards.length, bell);
    } catch (error) {
      // Its disks are in use until its threads have ended, and the primary that asks again needs them.
      this.machine.close().catch((failure: Error) => notice(failure.message));
      throw error;
    }
  }

  /** Has its guest, once it speaks for itself, begin anew from there when it resets. This machine's from now on. */
  set boot(source: BootSource) {
    this.#boot?.close();
    this.#boot = source;
  }

  get shared(): SharedStandby {
    const { ram } = this.machine;
    return {
      ram: ram instanceof CheckpointedMemory ? ram.checkpoint : ram.shared,
      devices: this.machine.replication.deviceOrders,
    };
  }

  /**
   * Loads the state of a checkpoint whose RAM is in place, to see that it can be. The machine stays held. After the first
   * checkpoint: what a takeover would fail of is said before anybody counts on one, and a takeover is faster.
   *
   * @throws VmStateError that says what is wrong, and the machine is as it was
   */
  rehearse(state: Uint8Array): Revived {
    return this.#load(state, 0);
  }

  /**
   * Loads the state of the checkpoint that RAM has. The guest's clocks go on `moveMs` later (spec B.12), and on from there
   * until {@link resume}. It is the same machine, not a copy: its generation id stays.
   *
   * @param moveMs what has passed since the checkpoint's stop, until now
   * @throws VmStateError that says what is wrong, and the machine is as it was
   */
  revive(state: Uint8Array, moveMs: number): Revived {
    const revived = this.#loadMoved(state, moveMs);
    this.#speaksForItself();
    return revived;
  }

  /**
   * Comparing: loads the state of the checkpoint that RAM has, and the guest runs from there, in that epoch. Its clocks go on as P's
   * have: what both guests answer about the time is the same as long as they are asked at the same moment (spec B.9). Nobody but the
   * comparison hears of it.
   *
   * @param moveMs what has passed since the checkpoint's stop, until now
   * @throws VmStateError that says what is wrong; RunStateError
   */
  start(state: Uint8Array, epoch: Epoch, moveMs: number): Revived {
    const revived = this.#loadMoved(state, moveMs);
    this.replica?.enter(epoch);
    if (revived.exitCode === undefined) this.#release();
    return revived;
  }

  /**
   * A guest that runs is stopped, to speak for itself from {@link resume} on; its clocks go on until then.
   *
   * @returns how it has ended, if it has; one that only reset begins anew when it is resumed
   */
  hold(): GuestEnd | undefined {
    this.#movedAt = this.replica?.park() ?? performance.now();
    this.#speaksForItself();
    return this.machine.keepsReset ? undefined : this.replica?.ended;
  }

  /** Tells the network that the guest's addresses are here. From then on it is brought what is for the guest. */
  announce(): void {
    this.machine.tellNetwork();
  }

  /** The guest runs, and announces itself. After {@link revive} or {@link hold}. @throws RunStateError if the machine has ended */
  resume(): void {
    this.machine.announce();
    this.#release();
  }

  /**
   * Comparing, or not: what its guest says and writes is its own from now on. After {@link revive} or {@link hold}.
   *
   * @param translation of a guest that ran; of one that was revived it came with the checkpoint, if P's was translated
   * @returns connections that go on with numbers that are not the guest's
   * @throws DiskError; Error
   */
  emerge(translation: LiveTranslation | undefined): number {
    const inherited = this.#translation && { state: this.#translation, aheadTicks: roundTripTicks };
    const chosen = translation ?? inherited;
    if (this.replica !== undefined) this.replica.emerge(chosen);
    else if (chosen !== undefined) this.machine.replication.translate(chosen);
    return chosen?.state.flows.filter(goesOn).length ?? 0;
  }

  /**
   * It has taken over and nobody writes a checkpoint to its RAM any more: what standing by cost is given back, while the guest runs.
   *
   * @param failed told why, if that stays as it is
   */
  settle(failed: (text: string) => void): void {
    const { ram } = this.machine;
    if (ram instanceof CheckpointedMemory) this.#settling ??= new Settling(this.machine, () => ram.settle(), failed);
  }

  /** Ends the machine at any time, and waits for its threads. The colo thread uses nothing of it any more. */
  discard(): Promise<void> {
    this.replica?.close();
    this.#settling?.close();
    this.#boot?.close();
    this.#closed ??= this.machine.close();
    return this.#closed;
  }

  #release(): void {
    this.machine.resetKept();
    this.machine.release('keep', nanoseconds(performance.now() - this.#movedAt));
  }

  #loadMoved(state: Uint8Array, moveMs: number): Revived {
    this.#movedAt = performance.now();
    return this.#load(state, moveMs);
  }

  /** Before that a guest that resets does what P's did not. */
  #speaksForItself(): void {
    if (this.#boot === undefined) return;
    this.machine.rebootsFrom(this.#boot);
    this.#boot = undefined;
  }

  #load(bytes: Uint8Array, moveMs: number): Revived {
    const began = performance.now();
    const state = decodeState(bytes);
    state.image.clock = movedClock(state.image.clock, moveMs);
    const checked = performance.now();
    this.machine.apply(state);
    this.#translation = state.translation;
    this.replica?.reseed(state.seed);
    this.#dropSent();
    const times = { checkMs: checked - began, loadMs: performance.now() - checked };
    return state.exitCode === undefined ? times : { ...times, exitCode: state.exitCode };
  }

  /** As if it had been printed. */
  #dropSent(): void {
    const chunk = new Uint8Array(4096);
    while (this.machine.serial.takeSent(chunk) > 0);
  }
}

/** In the primary's order, by their ids. */
function disksOf(shape: MachineShape, config: StandbyDevices): DiskConfig[] {
  const chosen = shape.disks.map(({ id, readOnly, sectorBytes }) => {
    const own = config.disk.find((candidate, index) => nameOfDisk(candidate, index) === id);
    if (own === undefined) throw impossible(`a disk ${id}, which this host does not have`);
    const { sector: _, ...rest } = own;
    return { ...rest, id, readonly: readOnly, ...(sectorBytes === undefined ? {} : { sector: sectorBytes }) };
  });
  return checked(disks, chosen);
}

function cardsOf(shape: MachineShape, config: StandbyDevices): NetConfig[] {
  const chosen = shape.cards.map(({ mac, mtu, offload }, index) => {
    const own = config.net[index];
    if (own === undefined) throw impossible(`${shape.cards.length} network cards, and this host has ${index}`);
    const { mtu: _, ...rest } = own;
    return {
      ...rest,
      ...(mac === undefined ? {} : { mac }),
      ...(mtu === undefined ? {} : { mtu }),
      offload: offload ?? rest.offload,
    };
  });
  return checked(nets, chosen);
}

/** With what the peer says in it. */
function checked<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw impossible(`a device whose ${String(issue.path?.[1]?.key ?? 'shape')} ${issue.message}`);
}

function impossible(what: string): ProtocolError {
  return new ProtocolError('unequal-pair', `the primary's machine has ${what}`);
}

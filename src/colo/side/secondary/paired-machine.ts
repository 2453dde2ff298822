import type { EngineChooser } from '../../../block/disk-engines.ts';
import type { Fd } from '../../../host/libc/descriptors.ts';
import type { SecondaryConfig } from '../../command/pair-config.ts';
import type { SecondaryEvent } from '../../core/events.ts';
import type { MachineShape } from '../../protocol/machine-shape.ts';
import type { Hello, Message } from '../../protocol/messages.ts';
import { type Epoch, noCheckpoint, type Term } from '../../protocol/numbers.ts';
import type { PortPolicy } from '../../protocol/port-policy.ts';
import type { PacketRecord } from '../../record/packet-record.ts';
import type { Calls } from '../calls.ts';
import type { EventLog } from '../event-log.ts';
import type { Lane } from '../lane.ts';
import type { ColoCalls, SecondaryMachineCalls } from '../machine-calls.ts';
import type { SignsOfLife } from '../signs-of-life.ts';
import { Attachment } from './attachment.ts';
import type { OwnHistory } from './own-history.ts';

export interface PairedMachineParts {
  readonly config: Pick<SecondaryConfig, 'pair' | 'settings'>;
  readonly calls: Calls<SecondaryMachineCalls, ColoCalls>;
  readonly signs: SignsOfLife;
  readonly lane: Lane;
  readonly history: OwnHistory;
  readonly log: EventLog;
  /** Button of the doorbell for what its guest says; undefined: its guest never runs beside P's. */
  readonly bell: Fd | undefined;
  readonly engines: EngineChooser | undefined;
  readonly record: PacketRecord | undefined;
  readonly now: () => number;
  /** The term that it is now. */
  readonly term: () => Term;
  readonly post: (event: SecondaryEvent) => void;
  /** False: wait until its stream has drained. */
  readonly send: (message: Message) => boolean;
  readonly flushPackets: () => void;
  /** Nothing more of checkpoints' pages is taken from P meanwhile. */
  readonly pausePages: (isPaused: boolean) => void;
}

/** The machine of the pairing that there is, made as its primary's hello says; there is none between two pairings. */
export class PairedMachine {
  readonly #parts: PairedMachineParts;
  #attached: Attachment | undefined;
  #compares = false;
  #flows: readonly PortPolicy[] = [];

  constructor(parts: PairedMachineParts) {
    this.#parts = parts;
  }

  /** What holds checkpoints of P's machine. */
  get attached(): Attachment | undefined {
    return this.#attached;
  }

  /** Its primary was told to compare: so will this side, as a primary. */
  get compares(): boolean {
    return this.#compares;
  }

  /** But not these connections. */
  get flows(): readonly PortPolicy[] {
    return this.#flows;
  }

  /** What one could be that is made now, instead of the last pairing's. @throws Error with one sentence */
  async shape(): Promise<MachineShape> {
    await this.close();
    return this.#parts.calls.call('shape', undefined);
  }

  /** Instead of the last pairing's. @param peer whose it is @throws Error with one sentence */
  async make(
    { shape, comparing, flows = [] }: Pick<Hello, 'shape' | 'comparing' | 'flows'>,
    peer: string,
  ): Promise<void> {
    await this.close();
    const { calls, config, term, signs, log, ...rest } = this.#parts;
    const bell = comparing === 1 ? rest.bell : undefined;
    const views = await calls.call('make', { shape, ...(bell === undefined ? {} : { compares: { bell } }) });
    const { pair, settings } = config;
    this.#attached = new Attachment({ ...rest, calls, log, views, pair, settings, term: term() });
    const { io } = this.#attached;
    if (io !== undefined) signs.watch('io', io);
    this.#compares = bell !== undefined;
    this.#flows = flows;
    const { cpus, memoryBytes, disks, cards } = shape;
    log.add(
      'pair',
      `${peer} pairs: ${cpus} vCPUs, ${memoryBytes / 2 ** 20} MiB, ${disks.length} disks, ${cards.length} cards`,
    );
  }

  /** What does not belong to that checkpoint is dropped; with none, the machine is, once the lane has come so far. */
  discard(beyond: Epoch): void {
    const attached = this.#attached;
    if (attached === undefined) return;
    attached.discard(beyond);
    if (beyond !== noCheckpoint) return;
    attached.end();
    this.#parts.lane.do(() => this.close());
  }

  /** Resolves when it is gone. */
  async close(): Promise<void> {
    const attached = this.#attached;
    if (attached === undefined) return;
    this.#attached = undefined;
    this.#parts.signs.forget('io');
    await attached.close();
  }
}

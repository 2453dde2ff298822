import { randomInt } from 'node:crypto';
import type { EngineChooser } from '../../../block/disk-engines.ts';
import type { Effect, SecondaryEvent } from '../../core/events.ts';
import { specification } from '../../core/rules.ts';
import type { Settings } from '../../core/settings.ts';
import { diskViews } from '../../disk/disk-view.ts';
import type { InheritedChanges } from '../../disk/history/primary-changes.ts';
import { StandbyDisks } from '../../disk/standby/standby-disks.ts';
import { KeptPackets } from '../../gate/kept-packets.ts';
import { OwnPackets } from '../../gate/own-packets.ts';
import { tapsOf } from '../../gate/tap-writer.ts';
import { decodeState } from '../../machine/checkpoint-state.ts';
import { BootReceiver } from '../../memory/boot-receiver.ts';
import { PageReceiver } from '../../memory/page-receiver.ts';
import type { EpochItem, Message } from '../../protocol/messages.ts';
import { type Epoch, epoch, next, type Term } from '../../protocol/numbers.ts';
import type { PacketRecord } from '../../record/packet-record.ts';
import type { TranslatorState } from '../../translate/translator-state.ts';
import type { Calls } from '../calls.ts';
import type { EventLog } from '../event-log.ts';
import type { ColoCalls, SecondaryMachineCalls, SecondaryViews } from '../machine-calls.ts';
import { IoThreadSigns } from '../signs-of-life.ts';
import type { OwnHistory } from './own-history.ts';

/** What a pairing's machine is held with. */
export interface AttachmentParts {
  readonly calls: Calls<SecondaryMachineCalls, ColoCalls>;
  readonly views: SecondaryViews;
  readonly pair: string;
  readonly term: Term;
  readonly settings: Settings;
  readonly history: OwnHistory;
  readonly log: EventLog;
  readonly engines: EngineChooser | undefined;
  readonly record: PacketRecord | undefined;
  readonly now: () => number;
  readonly post: (event: SecondaryEvent) => void;
  /** False: wait until its stream has drained. */
  readonly send: (message: Message) => boolean;
  /** Hands what was sent on the stream of packets to the kernel. */
  readonly flushPackets: () => void;
  /** Nothing more of checkpoints' pages is taken from P meanwhile. */
  readonly pausePages: (isPaused: boolean) => void;
}

/** A machine that holds checkpoints of P's, for one pairing: where what comes of an epoch goes. */
export class Attachment {
  readonly packets: KeptPackets;
  readonly disks: StandbyDisks;
  readonly pages: PageReceiver;
  /** What P's guest boots. */
  readonly boot: BootReceiver;
  /** What its own guest says and gets while that runs beside P's. */
  readonly own: OwnPackets | undefined;
  /** Of the machine's io thread. */
  readonly io: IoThreadSigns | undefined;
  /** For whoever takes over, since it is written down what the disks are. */
  changes: InheritedChanges | undefined;
  readonly #parts: AttachmentParts;
  /** What a P that survived an earlier pair translates, as of the checkpoint that is loaded. */
  #translation: TranslatorState | undefined;
  /** How long the last load of a state took, ms. */
  #loadMs: number | undefined;
  /** Its guest has run since the last checkpoint. */
  #ran = false;
  /** Its pairing is, and all that was staged is thrown away. */
  #isOver = false;

  constructor(parts: AttachmentParts) {
    this.#parts = parts;
    const { views, pair, term, settings, history, engines, record, post, send, flushPackets } = parts;
    const { devices, memory, replica } = views;
    this.io = views.io && new IoThreadSigns(views.io);
    this.own =
      replica &&
      new OwnPackets({
        shared: replica.packets,
        taps: tapsOf(devices),
        send,
        flush: flushPackets,
        post,
        now: parts.now,
        wakeIo: () => this.io?.nudge(),
        seed: randomInt(2 ** 32),
        record,
        lostInput: () =>
          parts.log.add('guest', "its guest takes packets more slowly than the primary's: some were lost"),
      });
    this.packets = new KeptPackets(tapsOf(devices), specification, undefined, record, () =>
      parts.log.add(
        'takeover',
        "more of the primary's packets wait than are kept: the oldest go, and clients send again what a takeover has not",
      ),
    );
    this.disks = new StandbyDisks({
      disks: diskViews(devices),
      settings,
      rules: specification,
      pair,
      term,
      post,
      send,
      past: history.of(devices, (changes) => {
        this.changes = changes;
      }),
      ...(engines === undefined ? {} : { engines }),
    });
    this.boot = new BootReceiver({
      keep: (sizes) => parts.calls.call('keepBoot', sizes),
      pause: parts.pausePages,
      moved: () => this.#unlessItIsOver({ kind: 'copy-moved' }),
      failed: ({ message: reason }) => this.#unlessItIsOver({ kind: 'load-failed', epoch: epoch(0), reason }),
    });
    this.pages = new PageReceiver(
      memory,
      (state) => {
        this.#translation = decodeState(state).translation;
      },
      replica?.changed,
    );
  }

  /** Its guest has run since the last checkpoint. */
  get ran(): boolean {
    return this.#ran;
  }

  /** How long the last load of device state took, ms: that of the rehearsal, or of the last checkpoint that its guest ran from. */
  get loadMs(): number | undefined {
    return this.#loadMs;
  }

  /** Something of an epoch came. @throws ProtocolError */
  stage(item: EpochItem): void {
    switch (item.kind) {
      case 'pages':
      case 'pages-end':
      case 'vmstate':
        this.pages.stage(item);
        return;
      case 'disk-write':
      case 'disk-discard':
      case 'disk-zeroes':
        this.disks.stage(item);
        return;
      case 'output':
      case 'input':
        this.packets.stage(item);
        return;
      case 'output-left':
        this.packets.left(item.epoch);
        return;
      case 'disk-end':
      case 'packets-end':
      case 'output-confirmed': // of a guest that does not run here yet
        return;
      default:
        item satisfies never;
    }
  }

  /** What does not belong to that checkpoint is dropped. */
  discard(beyond: Epoch): void {
    this.pages.discard(beyond);
    this.disks.discard(beyond);
  }

  /** What becomes of it from now on is nobody's concern. */
  end(): void {
    this.#isOver = true;
    this.own?.clear();
    this.packets.clear();
  }

  /** RAM is that checkpoint. */
  async load(epoch: Epoch): Promise<void> {
    await this.#unlessOver(epoch, async () => {
      if (epoch === 0) await this.boot.whole();
      if (!(await this.pages.load(epoch))) return;
      this.#ran = false;
      const { calls, post } = this.#parts;
      if (this.own !== undefined) await calls.call('rollBack', undefined);
      this.own?.clear();
      // What a takeover would fail of is found before anybody counts on one.
      if (epoch === 0) this.#loadMs = await calls.call('rehearse', this.pages.stateOf(epoch));
      if (!this.#isOver) post({ kind: 'loaded', epoch });
    });
  }

  /** Comparing: its guest is stopped for that checkpoint, or to be handed over, if it runs. */
  async park(epoch: Epoch): Promise<void> {
    const { calls, log } = this.#parts;
    await calls.call('park', undefined);
    log.addFrequent('checkpoint', () => `${epoch}: the guest is stopped here`);
    this.#unlessItIsOver({ kind: 'guest-paused' });
  }

  /** Comparing: its guest runs from that checkpoint, once the disks are the checkpoint's. */
  async start({ epoch, stoppedAt }: Extract<Effect, { kind: 'start' }>): Promise<void> {
    await this.#unlessOver(epoch, async () => {
      const { own } = this;
      if (own === undefined) throw new Error('its guest cannot run here: the primary did not say that it would');
      await this.disks.laid();
      if (this.#isOver) return;
      const opened = next(epoch);
      own.begin(opened, this.#translation);
      const state = this.pages.stateOf(epoch);
      this.#loadMs = await this.#parts.calls.call('start', { state, epoch: opened, stoppedAt });
      this.#parts.log.addFrequent('checkpoint', () => `${epoch}: the guest runs on here`);
      this.#ran = true;
      if (!this.#isOver) this.#parts.post({ kind: 'started', epoch });
    });
  }

  #unlessItIsOver(event: SecondaryEvent): void {
    if (!this.#isOver) this.#parts.post(event);
  }

  async #unlessOver(epoch: Epoch, step: () => Promise<void>): Promise<void> {
    if (this.#isOver) return;
    try {
      await step();
    } catch (error) {
      if (this.#isOver) return;
      this.#parts.post({ kind: 'load-failed', epoch, reason: (error as Error).message });
    }
  }

  /** The machine is let go. Resolves when nothing uses it any more, and it is gone. */
  async close(): Promise<void> {
    this.pages.close();
    this.own?.close();
    await this.boot.close();
    await this.disks.handOver().catch(() => {});
    this.disks.close();
    this.#parts.history.rest();
    await this.#parts.calls.call('discard', undefined);
  }
}

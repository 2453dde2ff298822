import { DiskLog } from '../../../../src/colo/core/epochs/disk-log.ts';
import type { Rules } from '../../../../src/colo/core/rules.ts';
import type { EpochItem } from '../../../../src/colo/protocol/messages.ts';
import { type Epoch, epoch, noCheckpoint } from '../../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../../src/colo/protocol/protocol-error.ts';
import { fromBytes } from '../fakes/numbers-as-bytes.ts';
import { Violation } from '../invariants/violation.ts';
import type { SecondaryProcess } from './secondary-process.ts';

interface LoggedWrite {
  readonly epoch: Epoch;
  readonly bytes: number;
  readonly block: number;
  readonly value: number;
}

/** S's disk behind its log: what P forwards waits there for the checkpoint that it belongs to, and is laid down then. */
export class StandbyDisk {
  readonly #side: SecondaryProcess;
  readonly #rules: Rules;
  readonly #bound: number;
  /** Told of each write that is laid down. */
  readonly #onLaid: () => void;
  #log: DiskLog<LoggedWrite>;
  /** A write of the log is under way. */
  #laying = false;
  /** Writes that came, and that were laid down. */
  #staged = 0;
  #laid = 0;
  /** The checkpoint that the disk is at, or will be once all is laid down. */
  #committed: number = noCheckpoint;
  /** Of `disk-sync`: what came before it is to be laid down, and made durable. */
  #sync: { readonly epoch: Epoch; readonly after: number } | undefined;
  #makesDurable = false;
  /** Who waits for {@link isLaid}. */
  #waiters: (() => void)[] = [];

  constructor(side: SecondaryProcess, rules: Rules, boundBytes: number, onLaid: () => void) {
    this.#side = side;
    this.#rules = rules;
    this.#bound = boundBytes;
    this.#onLaid = onLaid;
    this.#log = new DiskLog(boundBytes, rules);
  }

  /** Nothing waits, and nothing is under way. */
  get isLaid(): boolean {
    return this.#log.isLaid && !this.#laying;
  }

  /** All that counts is on the disk: its cache needs only be flushed. */
  get mayAnswerFlush(): boolean {
    return this.#log.mayAnswerFlush;
  }

  /** The checkpoint that the disk is at, or will be once all is laid down. */
  get committed(): number {
    return this.#committed;
  }

  beginPairing(): void {
    this.#log = new DiskLog(this.#bound, this.#rules);
    this.#committed = noCheckpoint;
    this.#sync = undefined;
    this.#staged = 0;
    this.#laid = 0;
    this.#waiters = [];
    // Until the first checkpoint the disk is being copied: nothing has to be kept aside.
    this.#log.commit(epoch(0));
  }

  /** @throws Violation if P did not keep to the bound of the log */
  append({ epoch, data }: Extract<EpochItem, { kind: 'disk-write' }>): void {
    const [block, value] = fromBytes(data) as unknown as readonly [number, number];
    try {
      const half = this.#log.append({ epoch, bytes: data.length, block, value });
      this.#staged++;
      if (half) this.#side.post({ kind: 'disk-log-half' });
      this.#layDown();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      throw new Violation('A.7', 'the primary forwarded more than the disk log holds');
    }
  }

  discard(beyond: Epoch): void {
    this.#log.discard(beyond);
  }

  /** The writes up to that checkpoint count. */
  commit(epoch: Epoch): void {
    this.#log.commit(epoch);
    this.#committed = epoch;
    this.#layDown();
  }

  /** What a block holds with the log's writes up to this epoch. */
  at(block: number, through: number): number {
    for (let index = this.#log.length - 1; index >= 0; index--) {
      const record = this.#log.at(index) as LoggedWrite;
      if (record.block === block && record.epoch <= through) return record.value;
    }
    return this.#side.disk.cached[block] as number;
  }

  /** P asks to make durable what came so far. */
  sync(epoch: Epoch): void {
    this.#sync = { epoch, after: this.#staged };
    this.#side.post({ kind: 'copy-moved' });
    this.#trySync();
  }

  /** Makes durable what it has laid down. @param done told whether all up to that checkpoint was */
  makeDurable(epoch: Epoch, done: (isDurable: boolean) => void): void {
    const isLaid = this.isLaid && this.#committed >= epoch;
    // One flush at a time: a slow disk has other things to do.
    if (!isLaid || this.#makesDurable) {
      done(false);
      return;
    }
    this.#makesDurable = true;
    this.#side.disk.flush((error) => {
      this.#makesDurable = false;
      if (!this.#side.dead) done(error === undefined);
    });
  }

  /** Calls that once all that is committed is on the disk; never, if another pair is made before. */
  whenLaid(then: () => void): void {
    if (this.isLaid) then();
    else this.#waiters.push(then);
  }

  #trySync(): void {
    const sync = this.#sync;
    if (sync === undefined || this.#laid < sync.after) return;
    this.#sync = undefined;
    const side = this.#side;
    const { session } = side;
    side.disk.flush((error) =>
      side.process(() => {
        if (error !== undefined || session === undefined || session !== side.session || side.live) return;
        side.send({ kind: 'disk-durable', epoch: sync.epoch });
      }),
    );
  }

  #layDown(): void {
    if (this.isLaid) for (const then of this.#waiters.splice(0)) then();
    const record = this.#log.nextToLay();
    if (this.#laying || record === undefined) return;
    this.#laying = true;
    const side = this.#side;
    const log = this.#log;
    side.disk.write(record.block, record.value, (error) =>
      side.process(() => {
        this.#laying = false;
        if (error !== undefined) {
          side.diskFailed(error);
          return;
        }
        if (log !== this.#log) {
          this.#layDown();
          return;
        }
        log.laid();
        this.#laid++;
        this.#trySync();
        if (side.secondary.phase === 'seeding') side.progress.moved();
        side.post({ kind: 'disk-laid', bytes: log.laidBytes });
        this.#layDown();
        this.#onLaid();
      }),
    );
  }
}

import type { Suspicion } from '../../disk/history/history.ts';
import { type HistoryDisk, HistoryStore } from '../../disk/history/history-store.ts';
import { type InheritedChanges, PrimaryChanges } from '../../disk/history/primary-changes.ts';
import { mebibytes } from './primary-words.ts';

/** How often it looks whether a log is kept of what the guest writes. */
const lookoutMs = 1000;

/** What P knows of its disks, in pairing after pairing, and telling when that is not written down any more. */
export class ChangesWatch {
  readonly #stateDirectory: string;
  readonly #store: HistoryStore;
  readonly #disks: readonly HistoryDisk[];
  readonly #log: (text: string) => void;
  readonly #lookout: NodeJS.Timeout;
  /** Where a standby's disks may differ from these, since somebody knows. */
  #changes: PrimaryChanges | undefined;
  #lost: string | undefined;

  constructor({
    stateDirectory,
    pair,
    disks,
    inherited,
    log,
  }: {
    readonly stateDirectory: string;
    readonly pair: string;
    readonly disks: readonly HistoryDisk[];
    /** What is known of them already. */
    readonly inherited: InheritedChanges | undefined;
    /** For operators. */
    readonly log: (text: string) => void;
  }) {
    this.#stateDirectory = stateDirectory;
    this.#store = new HistoryStore(stateDirectory, pair);
    this.#disks = disks;
    this.#log = log;
    if (inherited !== undefined) this.#changes = PrimaryChanges.inherited(this.#store, disks, inherited);
    this.#lookout = setInterval(() => this.#look(), lookoutMs).unref();
  }

  /** Undefined: nothing was paired yet, and nobody knows. */
  get changes(): PrimaryChanges | undefined {
    return this.#changes;
  }

  /** Why that is known to this process alone, as it was told last. */
  get lost(): string | undefined {
    return this.#lost;
  }

  /** A pairing is to begin. @throws Error if the disks' stamps cannot be written */
  async beforePairing(): Promise<PrimaryChanges> {
    this.#changes ??= await PrimaryChanges.begin(this.#store, this.#disks);
    await this.#changes.keepAgain();
    this.#look();
    return this.#changes;
  }

  /** What the side that takes this one's place goes on with; undefined: nothing. If this one pairs all the same, it begins anew. */
  handOver(): InheritedChanges | undefined {
    const inheritance = this.#changes?.inheritance;
    if (inheritance !== undefined) this.#changes = undefined;
    return inheritance;
  }

  /** So much of the disks may differ from a standby's. */
  found(suspicion: Suspicion, bytes: number): void {
    const all = this.#disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const text =
      suspicion.kind === 'all'
        ? `${mebibytes(all)} are compared: ${suspicion.why}`
        : `${mebibytes(bytes)} of ${mebibytes(all)} may differ`;
    this.#log(`disks: ${text}`);
  }

  /** Nothing more is begun. */
  rest(): void {
    clearInterval(this.#lookout);
    this.#store.rest();
  }

  /** After {@link rest}: what was begun is done. */
  settled(): Promise<void> {
    return this.#store.settled();
  }

  /** A state directory that cannot be written is nothing that the guest would hear of, so an operator does. */
  #look(): void {
    const lost = this.#changes?.look();
    if (lost === this.#lost) return;
    this.#lost = lost;
    const where = this.#stateDirectory;
    this.#log(
      lost === undefined
        ? `where the guest writes is written down again in ${where}`
        : `where the guest writes is not written down in ${where} any more: ${lost}; should this process end, all of its disks is compared`,
    );
  }
}

import { type Epoch, epoch as epochOf } from '../../protocol/numbers.ts';
import { PointInTime } from './point-in-time.ts';

interface Settle {
  readonly begin: () => void;
  readonly fail: (error: Error) => void;
}

/**
 * S's disks as of one checkpoint, for whoever copies them:
 *
 *     laying --> copying --> over
 *        |                    ^
 *        +--------------------+
 *
 * laying: changes up to that checkpoint are not all on the disks yet, later ones wait for that. copying: they are laid down as
 * {@link PointInTime} lets them. over: nothing waits.
 */
export class CheckpointCopy {
  readonly epoch: Epoch;
  readonly point: PointInTime;
  /** Resolves when copying may begin. @throws Error with the reason why it never will */
  readonly begun: Promise<void>;
  /** Why it is over before its time. */
  why: string | undefined;
  readonly #now: () => number;
  #state: 'laying' | 'copying' | 'over' = 'laying';
  readonly #settle: Settle;

  constructor(epoch: Epoch, sizes: readonly number[], now: () => number) {
    this.epoch = epoch;
    this.#now = now;
    this.point = new PointInTime(sizes);
    let settle: Settle | undefined;
    this.begun = new Promise((resolve, reject) => {
      settle = { begin: resolve, fail: reject };
    });
    // Who asks for it is told; nobody has to.
    this.begun.catch(() => {});
    this.#settle = settle as unknown as Settle;
  }

  get isOver(): boolean {
    return this.#state === 'over';
  }

  /** A change of that epoch may be begun. */
  admits(epoch: Epoch): boolean {
    return this.#state !== 'laying' || epoch <= this.epoch;
  }

  /** @param first the oldest epoch of which a change is not on the disks; undefined: all are */
  laid(first: Epoch | undefined): void {
    if (this.#state !== 'laying' || (first ?? epochOf(this.epoch + 1)) <= this.epoch) return;
    this.#state = 'copying';
    this.#settle.begin();
  }

  /** True: the change has to wait, and `go` is called once it need not. */
  holdsBack(disk: number, offset: number, lengthBytes: number, go: () => void): boolean {
    return this.#state === 'copying' && this.point.holdsBack(disk, offset, lengthBytes, this.#now(), go);
  }

  /** @param why absent: all is copied */
  end(why?: string): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.why = why;
    this.point.end();
    this.#settle.fail(new Error(why ?? 'it is over'));
  }
}

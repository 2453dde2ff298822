import { availableParallelism } from 'node:os';
import { addressOf } from '../../host/libc/memory.ts';
import { copyRuns, lonePageCopier, type PageCopier, type SharedPageCopy } from '../../memory/page-copy.ts';
import { Patience } from '../thread/patience.ts';

/** A thread that takes parts of a copy when it serves: a parked vCPU's. */
export interface CopyHelper {
  readonly name: string;
  /** Has it serve, without waiting for it; false if it is not there to do so. */
  serve(): boolean;
  readonly hasEnded: boolean;
}

/** Fewer pages are copied before a helper has woken. */
const leastPages = 512;
/** A helper takes so long for a part that it has begun only if it is broken. */
const patienceMs = 900;
/** How often it is looked whether it still lives. */
const lookMs = 5;

/**
 * Copies pages together with a thread that has nothing else to do. It waits for parts that the helper has begun, and else for
 * nothing: what a helper does not come to is copied here.
 */
export class HelpedCopier implements PageCopier {
  readonly #copy: SharedPageCopy;
  readonly #helper: CopyHelper;
  readonly #patienceMs: number;
  #numbers: Uint32Array<SharedArrayBuffer> | undefined;
  #numbersAddress = 0;

  constructor(copy: SharedPageCopy, helper: CopyHelper, limitMs = patienceMs) {
    this.#copy = copy;
    this.#helper = helper;
    this.#patienceMs = limitMs;
  }

  /** @throws if the helper does not bring what it has begun to an end: it died, or hangs */
  copy(source: number, target: number, numbers: Uint32Array<SharedArrayBuffer>, count: number): void {
    if (count < leastPages) {
      copyRuns(source, target, numbers, count);
      return;
    }
    this.#copy.begin(source, target, this.#addressOf(numbers), count);
    const helped = this.#helper.serve();
    this.#copy.takeParts();
    if (helped) this.#waitForHelper();
  }

  #waitForHelper(): void {
    if (this.#copy.waitUntilDone(lookMs)) return;
    const patience = new Patience(this.#patienceMs);
    while (!this.#copy.waitUntilDone(lookMs)) {
      if (this.#helper.hasEnded) throw new Error(`${this.#helper.name} has ended in the middle of a copy of pages`);
      if (patience.isOver())
        throw new Error(`${this.#helper.name} did not copy its pages within ${this.#patienceMs} ms`);
    }
  }

  /** Asked once an array: it is a call into the C library, and makes garbage. */
  #addressOf(numbers: Uint32Array<SharedArrayBuffer>): number {
    if (this.#numbers !== numbers) {
      this.#numbersAddress = addressOf(new Uint8Array(numbers.buffer, numbers.byteOffset));
      this.#numbers = numbers;
    }
    return this.#numbersAddress;
  }
}

/** Where this process has one processor only, a second thread would just take it from the first. */
export function helpedCopier(copy: SharedPageCopy, helper: CopyHelper | undefined): PageCopier {
  return helper === undefined || availableParallelism() < 2 ? lonePageCopier : new HelpedCopier(copy, helper);
}

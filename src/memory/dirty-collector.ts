import { DirtyLog } from '../host/kvm/dirty-log.ts';
import type { MemorySlot, Vm } from '../host/kvm/vm.ts';
import { type Closable, Owner } from '../host/ownership.ts';
import { pageSize } from './address.ts';
import { DirtyBitmap, nextMarkedWord } from './dirty-bitmap.ts';
import type { GuestMemory } from './guest-memory.ts';
import { HotPages } from './hot-pages.ts';

/** RAM whose slots KVM knows: slot n is region n. */
export interface SlottedRam {
  readonly memory: GuestMemory;
  readonly slots: readonly MemorySlot[];
}

/** Which pages changed since this one's last look. Others look for themselves: each sees every change. */
export interface DirtyTracker extends Closable {
  /** A bitmap for each region, for {@link collect}. */
  emptyBitmaps(): DirtyBitmap[];
  /**
   * Adds the pages written since the last call to `dirty`, a bitmap for each region; by default to new ones. The vCPUs
   * should be paused. Hot path: with bitmaps to reuse it allocates nothing.
   */
  collect(dirty?: readonly DirtyBitmap[]): readonly DirtyBitmap[];
  /**
   * The same for who looks many times a second: pages that are written time and again stay writable, and count as written
   * until they are looked at anew (see {@link HotPages}). The vCPUs are paused. Hot path.
   */
  collectOften(dirty: readonly DirtyBitmap[]): void;
}

/** A region's log, and which of its marks are left there. */
interface RegionLog {
  readonly log: DirtyLog;
  readonly hot: HotPages;
}

/**
 * The one place where a machine's dirty pages are taken: what the guest wrote (KVM's dirty log) united with what this
 * process wrote for it (GuestMemory's own record, which KVM cannot see).
 *
 * Taking a mark clears it. So whoever wants to know which pages changed is a {@link DirtyTracker} of this collector, and
 * what one of them takes is put down for the others:
 *
 *     KVM's log ---+---> the one that collects: its bitmap, with what was put down for it
 *     own writes --+---> each other one: its pending bitmap
 *
 * Pages are logged from the first tracker to the last. The VM must have been made with manual dirty-log protection
 * (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2): pages are write-protected again as they are collected, only those that were written,
 * and not all of those by who looks often.
 */
export class DirtyCollector {
  readonly #vm: Vm;
  readonly #ram: SlottedRam;
  readonly #trackers: Tracker[] = [];
  /** One a region, while there are trackers. */
  #logs: readonly RegionLog[] = [];
  #owner = new Owner();

  constructor(vm: Vm, ram: SlottedRam) {
    this.#vm = vm;
    this.#ram = ram;
  }

  /** A tracker to which all pages are clean from here on. Whoever asks closes it before the VM. */
  track(): DirtyTracker {
    if (this.#trackers.length === 0) this.#start();
    const tracker = new Tracker(
      () => emptyBitmaps(this.#ram.memory),
      (dirty, isOften) => this.#collect(tracker, dirty, isOften),
      () => this.#forget(tracker),
    );
    this.#trackers.push(tracker);
    try {
      // What was marked before is of no concern to it, but to the others.
      tracker.collect();
    } catch (error) {
      tracker.close();
      throw error;
    }
    return tracker;
  }

  #start(): void {
    const { memory, slots } = this.#ram;
    try {
      this.#logs = memory.regions.map(({ sizeBytes }, slot) => {
        const pages = sizeBytes / pageSize;
        return { log: this.#owner.own(new DirtyLog(this.#vm, slot, pages)), hot: new HotPages(pages) };
      });
      for (const [index, slot] of slots.entries()) {
        this.#vm.setMemory(slot, true);
        // RAM may lie elsewhere by then.
        this.#owner.defer(() => this.#vm.setMemory(this.#ram.slots[index] ?? slot, false));
      }
      this.#owner.defer(() => {
        memory.tracking = false;
      });
      memory.tracking = true;
    } catch (error) {
      this.#stop();
      throw error;
    }
  }

  #stop(): void {
    this.#logs = [];
    this.#owner.close();
    this.#owner = new Owner();
  }

  #forget(tracker: Tracker): void {
    const index = this.#trackers.indexOf(tracker);
    if (index < 0) return;
    this.#trackers.splice(index, 1);
    if (this.#trackers.length === 0) this.#stop();
  }

  /** Hot path. */
  #collect(tracker: Tracker, dirty: readonly DirtyBitmap[], isOften: boolean): void {
    const { regions } = this.#ram.memory;
    for (let region = 0; region < this.#logs.length; region++) {
      const { log, hot } = this.#logs[region] as RegionLog;
      const target = dirty[region] as DirtyBitmap;
      log.read();
      if (isOften) hot.look();
      else hot.forget();
      this.#takeLog(log, isOften ? hot : undefined, region, tracker, target);
      const written = (regions[region] as { written: DirtyBitmap }).written.words;
      for (let word = nextMarkedWord(written, 0); word < written.length; word = nextMarkedWord(written, word + 1)) {
        this.#put(region, word, Atomics.exchange(written, word, 0), tracker, target);
      }
      tracker.takePending(region, target);
    }
  }

  /** Only the words from the first mark to the last are given back to KVM, and nothing if there is none to give. */
  #takeLog(log: DirtyLog, hot: HotPages | undefined, region: number, tracker: Tracker, target: DirtyBitmap): void {
    const words = log.words;
    let first = words.length;
    let last = 0;
    for (let word = nextMarkedWord(words, 0); word < words.length; word = nextMarkedWord(words, word + 1)) {
      const marks = words[word] as number;
      this.#put(region, word, marks, tracker, target);
      const given = hot === undefined ? marks : hot.toProtect(word, marks);
      words[word] = given;
      if (given === 0) continue;
      if (first === words.length) first = word;
      last = word;
    }
    if (first < words.length) log.clear(first, last);
  }

  #put(region: number, word: number, marks: number, tracker: Tracker, target: DirtyBitmap): void {
    Atomics.or(target.words, word, marks);
    for (let index = 0; index < this.#trackers.length; index++) {
      const other = this.#trackers[index] as Tracker;
      if (other !== tracker) other.put(region, word, marks);
    }
  }
}

class Tracker implements DirtyTracker {
  readonly emptyBitmaps: () => DirtyBitmap[];
  readonly close: () => void;
  readonly #collect: (dirty: readonly DirtyBitmap[], isOften: boolean) => void;
  /** What others collected since this one's last call. */
  readonly #pending: readonly DirtyBitmap[];
  #hasPending = false;

  constructor(
    emptyBitmaps: () => DirtyBitmap[],
    collect: (dirty: readonly DirtyBitmap[], isOften: boolean) => void,
    close: () => void,
  ) {
    this.emptyBitmaps = emptyBitmaps;
    this.close = close;
    this.#collect = collect;
    this.#pending = emptyBitmaps();
  }

  collect(dirty: readonly DirtyBitmap[] = this.emptyBitmaps()): readonly DirtyBitmap[] {
    this.#collect(dirty, false);
    this.#hasPending = false;
    return dirty;
  }

  collectOften(dirty: readonly DirtyBitmap[]): void {
    this.#collect(dirty, true);
    this.#hasPending = false;
  }

  put(region: number, word: number, marks: number): void {
    Atomics.or((this.#pending[region] as DirtyBitmap).words, word, marks);
    this.#hasPending = true;
  }

  takePending(region: number, target: DirtyBitmap): void {
    if (this.#hasPending) this.#pending[region]?.drainInto(target);
  }
}

function emptyBitmaps(memory: GuestMemory): DirtyBitmap[] {
  return memory.regions.map((region) => new DirtyBitmap(region.sizeBytes / pageSize));
}

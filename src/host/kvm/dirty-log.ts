import { ioctlNumber } from '../libc/ioctl.ts';
import { lastErrno } from '../libc/library.ts';
import { viewMemory } from '../libc/memory.ts';
import { LowMapping } from '../mappings/mapping.ts';
import type { Closable } from '../ownership.ts';
import { SystemError } from '../system-error.ts';
import { KVM_CLEAR_DIRTY_LOG, KVM_GET_DIRTY_LOG, kvmClearDirtyLog, kvmDirtyLog } from './abi.ts';
import type { Vm } from './vm.ts';

/** Pages of one 64-bit word: KVM_CLEAR_DIRTY_LOG takes whole words (section 4.117). */
const pagesPerWord = 64;
/** Both requests stand in front of the bitmap: 16 and 24 bytes. */
const bitmapOffset = 64;

/**
 * A slot's dirty log where KVM can write it, with the requests that ask for it: one mapping, made once, so that nothing
 * is allocated while the guest is paused.
 */
export class DirtyLog implements Closable {
  /** The bitmap as {@link read} found it last: bit b of word w is page 32 * w + b. */
  readonly words: Int32Array;
  readonly #vm: Vm;
  readonly #slot: number;
  readonly #pages: number;
  readonly #mapping: LowMapping;
  readonly #requests: DataView;
  readonly #clearAddress: number;

  constructor(vm: Vm, slot: number, pages: number) {
    this.#vm = vm;
    this.#slot = slot;
    this.#pages = pages;
    const bytes = Math.ceil(pages / pagesPerWord) * 8;
    this.#mapping = new LowMapping('dirty log', bitmapOffset + bytes);
    const { address } = this.#mapping;
    this.#clearAddress = address + kvmDirtyLog.size;
    this.words = new Int32Array(viewMemory(address, bitmapOffset + bytes), bitmapOffset);
    this.#requests = new DataView(this.words.buffer, 0, bitmapOffset);
    const get = kvmDirtyLog.over(this.#requests);
    get.slot = slot;
    get.dirty_bitmap = BigInt(address + bitmapOffset);
    const clear = kvmClearDirtyLog.over(this.#requests, kvmDirtyLog.size);
    clear.slot = slot;
  }

  /** Copies the slot's marks to {@link words}. */
  read(): void {
    this.#call(KVM_GET_DIRTY_LOG.name, KVM_GET_DIRTY_LOG.number, this.#mapping.address);
  }

  /**
   * With manual protection: takes the marks that stand in {@link words} `firstWord` to `lastWord` back, and
   * write-protects those pages again.
   */
  clear(firstWord: number, lastWord: number): void {
    const firstPage = (firstWord >>> 1) * pagesPerWord;
    const endPage = Math.min(((lastWord >>> 1) + 1) * pagesPerWord, this.#pages);
    const { offsets } = kvmClearDirtyLog;
    this.#requests.setUint32(kvmDirtyLog.size + offsets.num_pages, endPage - firstPage, true);
    this.#requests.setUint32(kvmDirtyLog.size + offsets.first_page, firstPage, true);
    // The mapping lies below 2 GiB: the upper half of the address is zero.
    const bitmap = this.#mapping.address + bitmapOffset + firstPage / 8;
    this.#requests.setUint32(kvmDirtyLog.size + offsets.dirty_bitmap, bitmap, true);
    this.#call(KVM_CLEAR_DIRTY_LOG.name, KVM_CLEAR_DIRTY_LOG.number, this.#clearAddress);
  }

  close(): void {
    this.#mapping.close();
  }

  #call(name: string, request: number, argument: number): void {
    if (ioctlNumber(this.#vm.fd, request, argument) < 0) {
      throw new SystemError(name, lastErrno(), `memory slot ${this.#slot}`);
    }
  }
}

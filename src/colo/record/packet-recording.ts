import { type FileHandle, open } from 'node:fs/promises';
import type { Role } from '../protocol/numbers.ts';
import type { PacketDecision, PacketRecord } from './packet-record.ts';
import { PcapngBlocks } from './pcapng.ts';

/** As much is on its way to the file at most, and as much again waits. */
const queueBytes = 4 * 1024 * 1024;
/** What waits is written after so long, ms: many packets at a time. */
const flushMs = 20;
/** The virtio-net header, which is no part of a frame. */
const headerBytes = 12;

/** What is recorded of a guest's card. */
interface Interface {
  /** -1: the file does not know it yet. */
  number: number;
  received: number;
  dropped: number;
}

/** A file as far as a recording needs it. */
export type RecordingFile = Pick<FileHandle, 'write' | 'truncate' | 'stat' | 'close'>;

export interface PacketRecordingParts {
  readonly path: string;
  /** Microseconds since 1970. */
  readonly nowUs: () => number;
  /** It has ended before its time, for that reason: a sentence. */
  readonly failed: (why: string) => void;
  readonly openFile?: (path: string) => Promise<RecordingFile>;
  readonly queueBytes?: number;
}

/**
 * Packets on their way into a pcapng file: a section of it, appended to what is there. Two pieces of memory take turns: one is
 * written while the other is filled, and what comes while both are full is counted as missing. Nobody waits for the file. One that
 * takes no more ends where its last whole block does.
 */
export class PacketRecording implements PacketRecord {
  readonly #parts: PacketRecordingParts;
  readonly #interfaces = new Map<string, Interface>();
  /** Those that the file knows. */
  #named = 0;
  #filling: PcapngBlocks;
  #spare: PcapngBlocks;
  #file: RecordingFile | undefined;
  /** Bytes of whole blocks in the file. */
  #written = 0;
  #writing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(parts: PacketRecordingParts) {
    this.#parts = parts;
    this.#filling = new PcapngBlocks(parts.queueBytes ?? queueBytes);
    this.#spare = new PcapngBlocks(parts.queueBytes ?? queueBytes);
    this.#filling.section('colo-vmm');
  }

  packet(
    decision: PacketDecision,
    guest: Role,
    direction: 'in' | 'out',
    card: number,
    epoch: number,
    reason: string,
    bytes: Uint8Array,
    offset = 0,
    length = bytes.length,
  ): void {
    if (this.#isOver) return;
    const port = this.#interfaceOf(`card ${card} of the ${guest}`);
    const frame = bytes.subarray(offset + Math.min(headerBytes, length), offset + length);
    const where = Number.isNaN(epoch) ? 'no epoch' : `epoch ${epoch}`;
    const comment = `${decision}; ${where}; ${guest}; ${reason}`;
    if (port.number >= 0 && this.#filling.packet(port.number, this.#parts.nowUs(), direction, comment, frame))
      port.received++;
    else port.dropped++;
    if (this.#filling.length > this.#filling.bytes.length / 2) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), flushMs).unref();
  }

  /** Resolves when all of it is in the file, and how much is missing; or when the file takes no more. */
  async close(): Promise<void> {
    if (this.#isOver) return this.#writing;
    await this.#writing;
    this.#flush();
    await this.#writing;
    if (this.#isOver) return;
    this.#tellStatistics();
    this.#flush();
    this.#isOver = true;
    await this.#writing;
    await this.#file?.close().catch(() => {});
    this.#file = undefined;
  }

  #interfaceOf(name: string): Interface {
    let found = this.#interfaces.get(name);
    if (found === undefined) {
      found = { number: -1, received: 0, dropped: 0 };
      this.#interfaces.set(name, found);
    }
    if (found.number < 0 && this.#filling.interface(name)) found.number = this.#named++;
    return found;
  }

  #tellStatistics(): void {
    const now = this.#parts.nowUs();
    for (const name of this.#interfaces.keys()) {
      const { number, received, dropped } = this.#interfaceOf(name);
      const missing =
        dropped === 0 ? 'none is missing' : `${dropped} are MISSING: the disk was slower than the packets came`;
      this.#filling.statistics(
        number,
        now,
        received,
        dropped,
        `${received} packets of ${name} are recorded, ${missing}`,
      );
    }
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#writing !== undefined || this.#filling.length === 0 || this.#isOver) return;
    const blocks = this.#filling;
    this.#filling = this.#spare;
    this.#spare = blocks;
    this.#writing = this.#write(blocks)
      .catch((error: Error) => this.#fail(error))
      .then(() => {
        blocks.clear();
        this.#writing = undefined;
        if (this.#filling.length > 0 && !this.#isOver) this.#timer ??= setTimeout(() => this.#flush(), flushMs).unref();
      });
  }

  async #write({ bytes, length }: PcapngBlocks): Promise<void> {
    const file = this.#file ?? (await this.#open());
    for (let at = 0; at < length; ) at += (await file.write(bytes, at, length - at)).bytesWritten;
    this.#written += length;
  }

  async #open(): Promise<RecordingFile> {
    const { path, openFile = (name) => open(name, 'a', 0o600) } = this.#parts;
    const file = await openFile(path);
    this.#file = file;
    this.#written = (await file.stat()).size;
    return file;
  }

  /** Nothing more is recorded. The file ends with a whole block. */
  async #fail(error: Error): Promise<void> {
    this.#isOver = true;
    clearTimeout(this.#timer);
    const file = this.#file;
    this.#file = undefined;
    await file?.truncate(this.#written).catch(() => {});
    await file?.close().catch(() => {});
    this.#parts.failed(`${this.#parts.path} takes no more, and packets are not recorded any more: ${error.message}`);
  }
}

import { errnoName } from '../../../host/errno.ts';
import { comparedBlockBytes, type DiskCompare, type Message, mostComparedBytes } from '../../protocol/messages.ts';
import { ProtocolError } from '../../protocol/protocol-error.ts';
import { hashesOf } from '../block-hashes.ts';
import type { DiskBuffer } from '../disk-buffer.ts';
import type { OpenDisk } from '../disk-view.ts';
import { diskOf } from './disk-range.ts';

/** Ranges that are hashed at a time, and questions that may wait. */
export const readers = 2;
const mostQuestions = 64;

/** A question of P's, and the changes that came before it. */
interface Question {
  readonly asked: DiskCompare;
  readonly after: number;
}

/** The rest of S's disks, as questions see it. */
export interface Answering {
  /** Changes that are on the disk, since pairing. */
  readonly laid: number;
  /** There is room on the way, and somebody to answer. */
  readonly mayAnswer: boolean;
  say(message: Message): void;
  failed(error: string): void;
  /** An answer is given. */
  answered(): void;
}

/** P asks what is on S's disks, for the first copy: each question is answered once all changes before it are on the disk. */
export class DiskQuestions {
  readonly #disks: readonly OpenDisk[];
  readonly #idle: DiskBuffer[];
  readonly #standby: Answering;
  readonly #waiting: Question[] = [];
  #busy = 0;
  #answeredBytes = 0;

  /** @param buffers of {@link mostComparedBytes} each, or of the largest disk */
  constructor(disks: readonly OpenDisk[], buffers: DiskBuffer[], standby: Answering) {
    this.#disks = disks;
    this.#idle = buffers;
    this.#standby = standby;
  }

  /** What P was told about. */
  get answeredBytes(): number {
    return this.#answeredBytes;
  }

  get isIdle(): boolean {
    return this.#busy === 0;
  }

  /** @param after changes that came before it, since pairing. @throws ProtocolError */
  ask(asked: DiskCompare, after: number): void {
    const { offset, lengthBytes } = asked;
    diskOf(this.#disks, asked, lengthBytes);
    if (offset % comparedBlockBytes !== 0 || lengthBytes > mostComparedBytes) {
      throw new ProtocolError('invalid-message', `the peer asks for hashes of ${lengthBytes} bytes from ${offset} on`);
    }
    if (this.#waiting.length >= mostQuestions) {
      throw new ProtocolError('too-large', `the peer asks more than ${mostQuestions} questions at a time`);
    }
    this.#waiting.push({ asked, after });
    this.answer();
  }

  /** Answers what can be answered now. */
  answer(): void {
    while (this.#standby.mayAnswer) {
      const question = this.#waiting[0];
      if (question === undefined || question.after > this.#standby.laid) return;
      const buffer = this.#idle.pop();
      if (buffer === undefined) return;
      this.#waiting.shift();
      this.#busy++;
      void this.#hash(question.asked, buffer);
    }
  }

  /** Nobody waits for answers any more. */
  forget(): void {
    this.#waiting.length = 0;
  }

  async #hash({ epoch, disk, offset, lengthBytes }: DiskCompare, buffer: DiskBuffer): Promise<void> {
    const { id, backend } = this.#disks[disk] as OpenDisk;
    const result = await buffer.read(backend, offset, lengthBytes);
    if (result < 0) this.#standby.failed(`disk ${id} cannot be read: ${errnoName(-result)}`);
    else {
      const data = hashesOf(buffer.bytes.subarray(0, lengthBytes));
      this.#standby.say({ kind: 'disk-hashes', epoch, disk, offset, data });
      this.#answeredBytes += lengthBytes;
    }
    this.#idle.push(buffer);
    this.#busy--;
    this.answer();
    this.#standby.answered();
  }
}

import { connect, type Socket } from 'node:net';
import { LineClient, type Place, type ServiceClient } from './service-clients.ts';

/**
 * Streams of bytes that are a function of their places: the eight at 8 n are n, the greatest byte first. What is missing, comes twice,
 * is at another place or is changed is another byte than must be there.
 */
export const wordBytes = 8;
/** So much is asked for, or sent, at a time; much more than one window of TCP at its start, and whole words. */
export const pieceBytes = { download: 256 * 1024, upload: 128 * 1024 } as const;

/** @param at of the first byte; the beginning of a word, as the end has to be */
export function streamBytes(at: number, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  for (let offset = 0; offset < bytes; offset += wordBytes) {
    const word = (at + offset) / wordBytes;
    buffer.writeUInt32BE(Math.floor(word / 2 ** 32), offset);
    buffer.writeUInt32BE(word % 2 ** 32, offset + 4);
  }
  return buffer;
}

/** The place in the stream of the first byte that is not what must be there; undefined: all are. */
export function firstWrong(at: number, bytes: Buffer): number | undefined {
  const before = at % wordBytes;
  const whole = Math.ceil((before + bytes.length) / wordBytes) * wordBytes;
  const expected = streamBytes(at - before, whole).subarray(before, before + bytes.length);
  if (expected.equals(bytes)) return undefined;
  return at + bytes.findIndex((byte, index) => byte !== expected[index]);
}

/** A stream that is asked for piece by piece over one connection; each byte is looked at as it comes. */
export class DownloadClient implements ServiceClient {
  readonly name = 'download';
  readonly violations: string[] = [];
  readonly #socket: Socket;
  #asked = 0;
  #received = 0;
  #isWrong = false;
  #isClosed = false;

  constructor(place: Place) {
    this.#socket = connect(place).setNoDelay(true);
    this.#socket.on('data', (bytes: Buffer) => this.#hear(bytes));
    this.#socket.on('error', (error) => this.#violate(`the connection failed: ${error.message}`));
    this.#socket.on('close', () => {
      if (!this.#isClosed) this.#violate('the connection ended');
    });
  }

  get answers(): number {
    return Math.floor(this.#received / pieceBytes.download);
  }

  get isWaiting(): boolean {
    return this.#received < this.#asked;
  }

  ask(): void {
    if (this.isWaiting) return;
    this.#asked += pieceBytes.download;
    this.#socket.write(`${pieceBytes.download}\n`);
  }

  close(): void {
    this.#isClosed = true;
    this.#socket.destroy();
  }

  #hear(bytes: Buffer): void {
    const wrong = firstWrong(this.#received, bytes);
    if (wrong !== undefined && !this.#isWrong) {
      // Of what comes behind it nothing can be said.
      this.#isWrong = true;
      const found = bytes.subarray(wrong - this.#received).subarray(0, 2 * wordBytes);
      this.#violate(`byte ${wrong} is wrong: ${found.toString('hex')}`);
    }
    this.#received += bytes.length;
    if (this.#received > this.#asked) this.#violate(`${this.#received - this.#asked} bytes that nobody asked for`);
  }

  #violate(text: string): void {
    if (this.violations.length < 10) this.violations.push(`${this.name}: ${text}`);
  }
}

/** A stream that is sent piece by piece over one connection; the guest looks at each byte, and says how many were right. */
export function uploadClient(place: Place): ServiceClient {
  const { upload } = pieceBytes;
  return new LineClient(place, {
    name: 'upload',
    request: (number) => streamBytes((number - 1) * upload, upload),
    expected: (number) => `${number * upload}`,
  });
}

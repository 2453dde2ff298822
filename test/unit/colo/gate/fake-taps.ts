import type { Test } from 'tap';
import { close, createPipe, type Fd, tryRead, tryWrite } from '../../../../src/host/libc/descriptors.ts';

/** All packets of these tests are so long, so that a pipe's bytes can be told apart. */
export const packetBytes = 64;

export function packet(seed: number): Uint8Array {
  const bytes = new Uint8Array(packetBytes).fill(seed & 0xff);
  new DataView(bytes.buffer).setUint32(20, seed);
  return bytes;
}

export function seedOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(20);
}

/** A pipe that stands for a TAP: what is written to it can be read, and it can be full, or gone. */
export interface FakeTap {
  readonly fd: Fd;
  /** Seeds of the packets that were written since this was asked last. */
  written(): number[];
  /** From now on it takes nothing, until {@link drain}. */
  fill(): void;
  /** Takes out what {@link fill} put in. */
  drain(): void;
  /** Somebody has removed it. */
  remove(): void;
}

export function fakeTap(t: Test): FakeTap {
  const [reader, fd] = createPipe();
  let open = true;
  t.teardown(() => {
    if (open) close(reader);
    close(fd);
  });
  const written = (): number[] => {
    const bytes = new Uint8Array(1024 * 1024);
    let length = 0;
    for (let count = 1; count > 0; length += Math.max(0, count)) count = tryRead(reader, bytes.subarray(length));
    return Array.from({ length: length / packetBytes }, (_, index) => seedOf(bytes.subarray(index * packetBytes)));
  };
  return {
    fd,
    written,
    fill: () => {
      while (tryWrite(fd, packet(0)) > 0);
    },
    drain: () => {
      written();
    },
    remove: () => {
      open = false;
      close(reader);
    },
  };
}

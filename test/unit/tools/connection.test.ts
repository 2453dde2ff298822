import { Duplex } from 'node:stream';
import { test } from 'tap';
import { AgentConnection } from '../../../tools/lab/connection.ts';
import { FrameReader } from '../../../tools/lab/protocol.ts';

/** A stream whose far end takes what is written only when it is told to. */
class SlowStream extends Duplex {
  readonly written: Buffer[] = [];
  #taken: (() => void) | undefined;

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.written.push(bytes);
    this.#taken = done;
  }

  takeAll(): void {
    this.#taken?.();
  }

  get frames(): string[] {
    const reader = new FrameReader();
    return this.written.flatMap((bytes) => reader.feed(bytes)).map(({ type }) => type);
  }
}

test('nudges a host again only when it has taken the nudge before', async (t) => {
  const stream = new SlowStream();
  const connection = new AgentConnection(stream);
  connection.nudge();
  connection.nudge();
  t.strictSame(stream.frames, ['nudge']);
  stream.takeAll();
  connection.nudge();
  t.strictSame(stream.frames, ['nudge', 'nudge']);
});

test('nudges nobody once the host is gone', async (t) => {
  const stream = new SlowStream();
  const connection = new AgentConnection(stream);
  connection.abandon(new Error('gone'));
  connection.nudge();
  t.strictSame(stream.frames, []);
});

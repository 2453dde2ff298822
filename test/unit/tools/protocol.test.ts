import t from 'tap';
import {
  encodeFrame,
  FrameReader,
  jsonPayload,
  maximumPayloadBytes,
  ProtocolError,
} from '../../../tools/lab/protocol.ts';

t.test('frames come out as they went in, however the stream is cut', async (t) => {
  const stream = Buffer.concat([
    encodeFrame('spawn', 7, { argv: ['true'] }),
    encodeFrame('inputEnd', 8),
    encodeFrame('output', 0xffff_ffff, Buffer.from('some bytes')),
  ]);
  for (const step of [1, 2, 3, 9, 10, stream.length]) {
    const reader = new FrameReader();
    const frames = [];
    for (let at = 0; at < stream.length; at += step) frames.push(...reader.feed(stream.subarray(at, at + step)));
    t.same(
      frames.map(({ type, task }) => [type, task]),
      [
        ['spawn', 7],
        ['inputEnd', 8],
        ['output', 0xffff_ffff],
      ],
      `in steps of ${step}`,
    );
    t.same(frames[0] && jsonPayload(frames[0]), { argv: ['true'] });
    t.equal(Buffer.from(frames[2]?.payload ?? []).toString(), 'some bytes');
  }
});

t.test('a payload does not change when the bytes it came in are used again', async (t) => {
  const bytes = encodeFrame('output', 1, Buffer.from('kept'));
  const [frame] = new FrameReader().feed(bytes);
  bytes.fill(0);
  t.equal(Buffer.from(frame?.payload ?? []).toString(), 'kept');
});

t.test('refuses to send what a reader would refuse', async (t) => {
  t.throws(() => encodeFrame('output', 1, Buffer.alloc(maximumPayloadBytes + 1)), ProtocolError);
  t.doesNotThrow(() => new FrameReader().feed(encodeFrame('output', 1, Buffer.alloc(maximumPayloadBytes))));
});

t.test('refuses a stream that is out of step', async (t) => {
  const tooLong = Buffer.alloc(9);
  tooLong.writeUInt32LE(maximumPayloadBytes + 100, 0);
  t.throws(() => new FrameReader().feed(tooLong), ProtocolError);
  const tooShort = Buffer.alloc(9);
  tooShort.writeUInt32LE(4, 0);
  t.throws(() => new FrameReader().feed(tooShort), ProtocolError);
  const unknownType = encodeFrame('hello', 0);
  unknownType.writeUInt8(200, 4);
  t.throws(() => new FrameReader().feed(unknownType), ProtocolError);
});

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { test } from 'tap';
import { traceFile } from '../../../../tools/traces/trace-file.ts';
import { readPcap } from '../../../support/pcap.ts';

const frames = [
  { ms: 1000.25, bytes: Uint8Array.of(1, 2, 3) },
  { ms: 3001, bytes: Uint8Array.of(4) },
];

test('what was recorded is read again', async (t) => {
  const path = join(t.testdir(), 'some.pcap.gz');
  writeFileSync(path, traceFile(frames));
  t.strictSame(
    readPcap(path),
    frames.map(({ bytes }) => bytes),
  );
});

test('time begins with the first frame', async (t) => {
  const bytes = gunzipSync(traceFile(frames));
  const second = 24 + 16 + 3;
  t.strictSame([bytes.readUInt32LE(24), bytes.readUInt32LE(28)], [0, 0]);
  t.strictSame([bytes.readUInt32LE(second), bytes.readUInt32LE(second + 4)], [2, 750]);
});

import { test } from 'tap';
import { decodePreamble, encodePreamble, preambleBytes } from '../../../../src/colo/link/stream-preamble.ts';
import { streams } from '../../../../src/colo/protocol/message-table.ts';

const link = '00112233445566778899aabbccddeeff';

test('what is written is read', (t) => {
  for (const stream of streams) {
    for (const role of ['primary', 'secondary'] as const) {
      const bytes = encodePreamble({ link, stream, role });
      t.equal(bytes.length, preambleBytes);
      t.strictSame(decodePreamble(bytes), { link, stream, role });
    }
  }
  t.end();
});

test('no byte but the link id and the stream may be another one', (t) => {
  const good = encodePreamble({ link, stream: 'control', role: 'primary' });
  for (let at = 0; at < 16; at++) {
    const bytes = Uint8Array.from(good);
    bytes[at] = 0xee;
    t.equal(decodePreamble(bytes), undefined, `byte ${at}`);
  }
  t.end();
});

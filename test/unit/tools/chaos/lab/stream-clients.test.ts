import t, { type Test } from 'tap';
import type { Place } from '../../../../../tools/chaos/lab/service-clients.ts';
import {
  DownloadClient,
  firstWrong,
  pieceBytes,
  streamBytes,
  uploadClient,
} from '../../../../../tools/chaos/lab/stream-clients.ts';
import { answered, service, so } from './service-rig.ts';

t.test('a byte is what its place says, beyond 32 bits too', async (t) => {
  t.equal(streamBytes(0, 24).toString('hex'), '000000000000000000000000000000010000000000000002');
  t.equal(streamBytes(2 ** 35, 8).toString('hex'), '0000000100000000');
});

t.test('the first byte that is not what must be there is found, wherever a part begins', async (t) => {
  const bytes = streamBytes(0, 4096);
  for (const at of [0, 1, 7, 8, 1001]) {
    const part = bytes.subarray(at, at + 300);
    t.equal(firstWrong(at, part), undefined);
    const changed = Buffer.from(part);
    changed[111] = (changed[111] ?? 0) ^ 1;
    t.equal(firstWrong(at, changed), at + 111);
  }
  t.equal(firstWrong(8, bytes.subarray(0, 8)), 15, 'a word from another place');
});

/** Serves the stream; `spoil` is given each piece before it is sent. */
const download = (t: Test, spoil: (piece: Buffer, at: number) => Buffer = (piece) => piece): Promise<Place> =>
  service(t, (socket) => {
    let at = 0;
    socket.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.trim().split('\n')) {
        const bytes = Number(line);
        socket.write(spoil(streamBytes(at, bytes), at));
        at += bytes;
      }
    });
  });

t.test('a download that is right byte by byte is right', async (t) => {
  const client = new DownloadClient(await download(t));
  t.teardown(() => client.close());
  await answered(client, 3);
  t.same(client.violations, []);
});

t.test('a byte that is changed, missing or too many is told once, with its place', async (t) => {
  const second = (piece: Buffer, at: number, change: (piece: Buffer) => Buffer): Buffer =>
    at > 0 ? change(piece) : piece;
  const changed = await download(t, (piece, at) =>
    second(piece, at, () => Buffer.concat([piece.subarray(0, 999), Buffer.from([9]), piece.subarray(1000)])),
  );
  const moved = await download(t, (piece, at) =>
    second(piece, at, () => Buffer.concat([piece.subarray(8), piece.subarray(0, 8)])),
  );
  for (const [place, wrong] of [
    [changed, pieceBytes.download + 999],
    [moved, pieceBytes.download + 7],
  ] as const) {
    const client = new DownloadClient(place);
    t.teardown(() => client.close());
    await answered(client, 3);
    t.equal(client.violations.length, 1);
    t.match(client.violations[0], new RegExp(`^download: byte ${wrong} is wrong`));
  }
  const longer = new DownloadClient(
    await download(t, (piece, at) => Buffer.concat([piece, streamBytes(at + piece.length, 8)])),
  );
  t.teardown(() => longer.close());
  longer.ask();
  await so(() => longer.violations.length > 0);
  t.same(longer.violations, ['download: 8 bytes that nobody asked for']);
});

t.test('a download whose connection ends is told', async (t) => {
  const client = new DownloadClient(await service(t, (socket) => socket.on('data', () => socket.end())));
  client.ask();
  await so(() => client.violations.length > 0);
  t.same(client.violations, ['download: the connection ended']);
  t.ok(client.isWaiting);
  client.close();
});

t.test('an upload is the stream, and is right when all of it was', async (t) => {
  let [received, wrong] = [0, 0];
  const place = await service(t, (socket) =>
    socket.on('data', (bytes: Buffer) => {
      if (firstWrong(received, bytes) !== undefined) wrong++;
      received += bytes.length;
      if (received % pieceBytes.upload === 0) socket.write(`${received === 3 * pieceBytes.upload ? 7 : received}\n`);
    }),
  );
  const client = uploadClient(place);
  t.teardown(() => client.close());
  await answered(client, 2);
  t.same(client.violations, []);
  await answered(client, 3);
  t.equal(wrong, 0);
  t.match(client.violations, [/upload: request 3 was answered by "7", not "393216"/]);
});

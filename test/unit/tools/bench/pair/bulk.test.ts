import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type Test, test } from 'tap';
import { bulkPort, bulkProgram, openBulk, pieceBytes, pieceOf } from '../../../../../tools/bench/pair/bulk.ts';

/** A server that is told of each connection, behind its first letter. */
async function server(t: Test, serve: (socket: Socket, way: string) => void): Promise<number> {
  const listening = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (first: Buffer) => {
      if (first.length > 1) socket.unshift(first.subarray(1));
      serve(socket, first.toString('latin1', 0, 1));
    });
  }).listen(0, '127.0.0.1');
  await once(listening, 'listening');
  t.teardown(() => listening.close());
  return (listening.address() as AddressInfo).port;
}

test('no piece is like another one, nor like itself a little later', async (t) => {
  t.equal(pieceOf(0).length, pieceBytes);
  t.notOk(pieceOf(0).equals(pieceOf(1)));
  const piece = pieceOf(7);
  for (const shift of [1, 2, 4, 64, 256, 1460, 4096])
    t.notOk(piece.subarray(4 + shift, 12 + shift).equals(piece.subarray(4, 12)), `${shift} bytes later`);
});

test('a download is looked at byte for byte', async (t) => {
  const bad = pieceOf(2);
  bad[9000] = (bad[9000] ?? 0) ^ 1;
  const port = await server(t, (socket, way) => {
    t.equal(way, 'd');
    for (const piece of [pieceOf(0), pieceOf(1), bad, pieceOf(3)]) socket.write(piece);
  });
  const asker = await openBulk('download', '127.0.0.1', port);
  t.teardown(() => asker.close());
  await asker.ask();
  await asker.ask();
  await t.rejects(asker.ask(), { message: 'piece 2 of a download is not what it must be' });
});

test('an upload goes on while confirmations are on their way, and ends with the connection', async (t) => {
  let bytes = 0;
  const port = await server(t, (socket, way) => {
    t.equal(way, 'u');
    socket.on('data', (part: Buffer) => {
      bytes += part.length;
      // Nothing is confirmed before there is a piece more.
      if (bytes >= 3 * pieceBytes) socket.write('..', () => socket.end());
    });
  });
  const asker = await openBulk('upload', '127.0.0.1', port);
  t.teardown(() => asker.close());
  await asker.ask();
  await asker.ask();
  await t.rejects(asker.ask(), { message: /ended early/ });
});

const skip = spawnSync('perl', ['-e', '1']).status === 0 ? false : 'there is no perl';

test("the guest's program says what is looked at, and looks at what is said", { skip }, async (t) => {
  const program = spawn('perl', ['-e', bulkProgram], { stdio: 'ignore' });
  t.teardown(() => program.kill());
  const open = async (direction: 'download' | 'upload') => {
    for (;;) {
      try {
        return await openBulk(direction, '127.0.0.1', bulkPort);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  for (const direction of ['download', 'upload'] as const) {
    const asker = await open(direction);
    for (let piece = 0; piece < 40; piece++) await t.resolves(asker.ask(), `piece ${piece} of the ${direction}`);
    asker.close();
  }
});

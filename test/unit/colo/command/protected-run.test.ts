import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Test, test } from 'tap';
import { pairOptions, parsePrimary, primaryOptions } from '../../../../src/colo/command/pair-config.ts';
import { protectedRunCommand } from '../../../../src/colo/command/protected-run.ts';
import { PcapngBlocks } from '../../../../src/colo/record/pcapng.ts';
import { parseConfig } from '../../../../src/vmm/config/config.ts';
import { ControlSocket } from '../../../../src/vmm/monitor/control-socket.ts';
import { bundle, temporaryFolder } from '../../../support/vmm-process.ts';

/** An etcd that grants whatever it is asked for; and what it was asked. */
async function arbiter(t: Test) {
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    request.resume();
    response.end(JSON.stringify({ succeeded: true }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { asked, url: `etcd:http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** A recording as one that is under way has made it. */
function recording(path: string): Buffer {
  const blocks = new PcapngBlocks(4096);
  blocks.section('colo-vmm');
  const bytes = Buffer.from(blocks.bytes.subarray(0, blocks.length));
  writeFileSync(path, bytes);
  return bytes;
}

/**
 * What `run --standby` says, which does not begin; fails if it has left anything: the arbiter would hold a term that was begun for
 * nothing against the pair that runs, at its next loss.
 */
async function refusal(t: Test, kernel: string): Promise<string> {
  const folder = temporaryFolder(t);
  const { asked, url } = await arbiter(t);
  const [state, pcap] = [join(folder, 'state'), join(folder, 'web.pcapng')];
  const recorded = recording(pcap);
  const control = join(folder, 'web.sock');
  const config = parseConfig({
    ...{ kernel: join(folder, 'kernel'), name: 'web', control, serial: 'none', state, pcap, arbiter: url },
    ...{ standby: 'b.example:7000', insecure: true },
  });
  if (kernel !== '') writeFileSync(join(folder, 'kernel'), kernel);
  const running = kernel === 'of one that runs' ? await ControlSocket.claim(control) : undefined;
  try {
    const pair = parsePrimary({ ...pairOptions(config), ...primaryOptions(config) }, true);
    await protectedRunCommand(config, pair, pathToFileURL(bundle));
    return 'it ran';
  } catch (error) {
    return (error as Error).message;
  } finally {
    running?.close();
    t.strictSame(asked, [], 'no term was begun at the arbiter');
    t.notOk(existsSync(state), 'nor here');
    t.ok(recorded.equals(readFileSync(pcap)), 'and a recording is as it was');
  }
}

test('a primary that is started a second time by mistake takes no term from the one that runs', async (t) => {
  t.match(await refusal(t, 'of one that runs'), /web\.sock: another VMM serves this socket/);
});

test('a primary without a kernel begins no term', async (t) => {
  t.match(await refusal(t, ''), /^--kernel .*: no such file$/);
});

test('a primary whose kernel is none begins no term', async (t) => {
  t.match(await refusal(t, 'not a kernel'), /^.*kernel: .*/);
});

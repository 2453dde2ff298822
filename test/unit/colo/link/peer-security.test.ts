import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { test } from 'tap';
import { cheapestSuites, tlsOptions } from '../../../../src/colo/link/peer-security.ts';
import { pairOfKeys } from './link-rig.ts';

test('a processor with instructions for AES is asked for AES, with the shorter key, and any other one for ChaCha20', (t) => {
  t.match(cheapestSuites('processor\t: 0\nflags\t\t: fpu sse2 aes xsave\nbugs\t\t:\n'), /^TLS_AES_128_GCM_SHA256:/);
  for (const none of ['flags\t\t: fpu sse2 vaes_not aesx\n', 'model name\t: aes\n', '']) {
    t.match(cheapestSuites(none), /^TLS_CHACHA20_POLY1305_SHA256:/);
  }
  const suites = (cpuInfo: string): string[] => cheapestSuites(cpuInfo).split(':').sort();
  t.strictSame(suites('flags : aes'), suites(''), 'hosts that differ have all of them in common');
  t.end();
});

test('who listens decides, and both understand', async (t) => {
  const [a, b] = await pairOfKeys(t);
  const choice = async (listener: string, dialler: string): Promise<string> => {
    const server = createServer({ ...tlsOptions(a), ciphers: cheapestSuites(listener) });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>;
    const { port } = server.address() as AddressInfo;
    const options = { ...tlsOptions(b), ciphers: cheapestSuites(dialler), checkServerIdentity: () => undefined };
    const socket = connect({ host: '127.0.0.1', port, ...options });
    await once(socket, 'secureConnect');
    const { name } = socket.getCipher();
    const [peer] = await accepted;
    t.equal(peer.getCipher().name, name);
    socket.destroy();
    peer.destroy();
    server.close();
    return name;
  };
  t.equal(await choice('flags : aes', ''), 'TLS_AES_128_GCM_SHA256');
  t.equal(await choice('', 'flags : aes'), 'TLS_CHACHA20_POLY1305_SHA256');
});

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Why there is no etcd here; false if there is one. */
export function noEtcd(): string | false {
  return spawnSync('etcd', ['--version']).status === 0 ? false : 'no etcd here: apt-get install etcd-server';
}

/** A real etcd of one member, on a port of this host that was free. Its data outlive a restart. It lives no longer than we do. */
export class Etcd {
  readonly url: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'colo-vmm-etcd-'));
  readonly #peerUrl: string;
  #process: ChildProcess | undefined;

  private constructor(address: string, client: number, peer: number) {
    this.url = `http://${address}:${client}`;
    this.#peerUrl = `http://127.0.0.1:${peer}`;
  }

  /** @param address of this host, where clients find it */
  static async start(address = '127.0.0.1'): Promise<Etcd> {
    const etcd = new Etcd(address, await freePort(), await freePort());
    await etcd.start();
    return etcd;
  }

  async start(): Promise<void> {
    this.#process = spawn(
      'setpriv',
      [
        ...[
          '--pdeathsig',
          'KILL',
          'etcd',
          '--name',
          'one',
          '--data-dir',
          this.#folder,
          '--logger',
          'zap',
          '--log-level',
          'error',
        ],
        ...['--listen-client-urls', this.url, '--advertise-client-urls', this.url],
        ...['--listen-peer-urls', this.#peerUrl, '--initial-advertise-peer-urls', this.#peerUrl],
        ...['--initial-cluster', `one=${this.#peerUrl}`, '--enable-v2=false'],
      ],

      { stdio: 'ignore' },
    );
    const deadline = Date.now() + 60_000;
    for (;;) {
      const answer = await fetch(`${this.url}/health`).catch(() => undefined);
      if (answer?.ok && ((await answer.json()) as { health: string }).health === 'true') return;
      if (Date.now() > deadline || this.#process.exitCode !== null) throw new Error('etcd does not start');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Ends it as a crash does. */
  async kill(): Promise<void> {
    const ended = this.#process;
    if (ended === undefined || ended.exitCode !== null || ended.signalCode !== null) return;
    ended.kill('SIGKILL');
    await once(ended, 'exit');
  }

  /** Freezes it: connections are taken by the kernel, and nothing answers. */
  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  async close(): Promise<void> {
    this.thaw();
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Turns authentication on: user root with this password. */
  async demandPassword(password: string): Promise<void> {
    const post = async (path: string, body: object): Promise<void> => {
      const answer = await fetch(`${this.url}/v3/auth/${path}`, { method: 'POST', body: JSON.stringify(body) });
      if (!answer.ok) throw new Error(`etcd: ${path}: ${await answer.text()}`);
    };
    await post('user/add', { name: 'root', password });
    await post('role/add', { name: 'root' });
    await post('user/grant', { user: 'root', role: 'root' });
    await post('enable', {});
  }

  /** Removes every key. */
  async wipe(): Promise<void> {
    const body = JSON.stringify({
      key: Buffer.from('\0').toString('base64'),
      range_end: Buffer.from('\0').toString('base64'),
    });
    await fetch(`${this.url}/v3/kv/deleterange`, { method: 'POST', body });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

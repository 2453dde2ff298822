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

/** Where a member is found: by clients, and by the others. */
interface Place {
  readonly name: string;
  readonly url: string;
  readonly peerUrl: string;
}

async function freePlace(name: string, address: string): Promise<Place> {
  return { name, url: `http://${address}:${await freePort()}`, peerUrl: `http://127.0.0.1:${await freePort()}` };
}

/** A real etcd, on a port of this host that was free. Its data outlive a restart. It lives no longer than we do. */
export class Etcd {
  readonly url: string;
  readonly #place: Place;
  readonly #members: readonly Place[];
  readonly #folder = mkdtempSync(join(tmpdir(), 'colo-vmm-etcd-'));
  #process: ChildProcess | undefined;

  private constructor(place: Place, members: readonly Place[]) {
    this.url = place.url;
    this.#place = place;
    this.#members = members;
  }

  /** @param address of this host, where clients find it */
  static async start(address = '127.0.0.1'): Promise<Etcd> {
    const place = await freePlace('one', address);
    const etcd = new Etcd(place, [place]);
    await etcd.start();
    return etcd;
  }

  /** Three of them, that are one cluster. All are gone after the test. */
  static async startCluster(t: { teardown(clean: () => unknown): void }): Promise<readonly Etcd[]> {
    const places: Place[] = [];
    for (const name of ['one', 'two', 'three']) places.push(await freePlace(name, '127.0.0.1'));
    const members = places.map((place) => new Etcd(place, places));
    t.teardown(() => Promise.all(members.map((member) => member.close())));
    await Promise.all(members.map((member) => member.start()));
    return members;
  }

  /** Whether it leads its cluster. */
  async isLeader(): Promise<boolean> {
    const answer = await fetch(`${this.url}/v3/maintenance/status`, { method: 'POST', body: '{}' });
    const { header, leader } = (await answer.json()) as { header: { member_id: string }; leader?: string };
    return header.member_id === leader;
  }

  /** Resolves when it is one of a majority. */
  async start(): Promise<void> {
    const { name, url, peerUrl } = this.#place;
    const cluster = this.#members.map((member) => `${member.name}=${member.peerUrl}`).join(',');
    this.#process = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', 'etcd', '--name', name, '--data-dir', this.#folder],
        ...['--logger', 'zap', '--log-level', 'error'],
        ...['--listen-client-urls', url, '--advertise-client-urls', url],
        ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
        ...['--initial-cluster', cluster, '--enable-v2=false'],
      ],
      { stdio: 'ignore' },
    );
    await this.serves();
  }

  /** Resolves when it is one of a majority that has a leader. */
  async serves(): Promise<void> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      const answer = await fetch(`${this.url}/health`).catch(() => undefined);
      if (answer?.ok && ((await answer.json()) as { health: string }).health === 'true') return;
      if (Date.now() > deadline || this.#process?.exitCode !== null) throw new Error('etcd does not serve');
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

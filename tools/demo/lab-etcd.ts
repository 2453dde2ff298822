import type { RemoteProcess } from '../lab/connection.ts';
import type { Host } from '../lab/host.ts';
import { textOf, until } from './waiting.ts';

const program = '/opt/etcd';
const firstPort = 2379;
const answersWithinMs = 30_000;

interface Member {
  readonly name: string;
  /** Where clients find it. */
  readonly url: string;
  /** Where the others do: on the same host. */
  readonly peerUrl: string;
}

/** A real etcd on the machine outside, of one member or several that are one cluster. It ends with the lab. */
export class LabEtcd {
  readonly #outside: Host;
  readonly #members: readonly Member[];
  readonly #processes = new Map<Member, RemoteProcess>();

  private constructor(outside: Host, members: number) {
    this.#outside = outside;
    this.#members = Array.from({ length: members }, (_, index) => ({
      name: `etcd-${index}`,
      url: `http://${outside.address}:${firstPort + 2 * index}`,
      peerUrl: `http://127.0.0.1:${firstPort + 2 * index + 1}`,
    }));
  }

  /** Resolves when all of it answers. @param path of etcd here */
  static async start(outside: Host, path: string, members: number): Promise<LabEtcd> {
    await outside.push(path, program, 0o755);
    const etcd = new LabEtcd(outside, members);
    await etcd.#startAll();
    return etcd;
  }

  /** What a side is told of it. */
  get arbiter(): string {
    return `etcd:${this.#members.map(({ url }) => url).join(',')}`;
  }

  /** The member that leads is killed; which one it was. The others choose another one in a second or two. */
  async loseLeader(): Promise<string> {
    for (const member of this.#members) {
      const answer = await this.#ask(member, '--data {} --request POST', 'v3/maintenance/status');
      if (answer === '') continue;
      const { header, leader } = JSON.parse(answer) as { header: { member_id: string }; leader?: string };
      if (header.member_id !== leader) continue;
      const process = this.#processes.get(member);
      this.#processes.delete(member);
      process?.kill('SIGKILL');
      await process?.exit;
      return member.name;
    }
    throw new Error('no member of etcd says that it leads');
  }

  /** Whoever was lost is there again, with what it knew. */
  mend(): Promise<void> {
    return this.#startAll();
  }

  async #startAll(): Promise<void> {
    const lost = this.#members.filter((member) => !this.#processes.has(member));
    const words = lost.map((member) => this.#start(member));
    await Promise.all(
      lost.map(async (member, index) => {
        const isHealthy = async (): Promise<boolean> => (await this.#ask(member, '', 'health')).includes('"true"');
        await until(`${member.name} to answer`, answersWithinMs, isHealthy).catch((error: Error) => {
          throw new Error(`${error.message}: ${words[index]?.()}`);
        });
      }),
    );
  }

  /** What it says on standard error. */
  #start(member: Member): () => string {
    const { name, url, peerUrl } = member;
    const process = this.#outside.spawn([
      ...[program, '--name', name, '--data-dir', `/tmp/${name}`, '--log-level', 'error', '--enable-v2=false'],
      ...['--listen-client-urls', url, '--advertise-client-urls', url],
      ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
      ...['--initial-cluster', this.#members.map((each) => `${each.name}=${each.peerUrl}`).join(',')],
    ]);
    process.exit.catch(() => {});
    process.stdout.resume();
    this.#processes.set(member, process);
    return textOf(process.stderr);
  }

  /** Nothing, if it does not answer. */
  async #ask({ url }: Member, options: string, path: string): Promise<string> {
    return (await this.#outside.run(`curl --silent --max-time 2 ${options} ${url}/${path}`)).stdout;
  }
}

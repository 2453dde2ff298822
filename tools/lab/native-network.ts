import { type ChildProcess, spawn } from 'node:child_process';
import { ExecuteError, execute } from '../packages/execute.ts';
import { commandFromSet } from '../packages/run-from-set.ts';
import { endProcess } from './end-process.ts';
import { LabError } from './errors.ts';
import {
  chosenLinks,
  deadLink,
  goodLink,
  hostAddress,
  hostMac,
  type LabNetwork,
  type LinkChoice,
  type LinkCondition,
} from './network.ts';

/** Runs a program of the host tree in the network namespace of process `pid`; what it printed. */
export function executeInNetworkOf(pid: number, root: string, program: string, ...args: string[]): Promise<string> {
  const own = commandFromSet(root, `usr/sbin/${program}`, program);
  return execute('nsenter', [`--net=/proc/${pid}/ns/net`, own.program, ...own.args, ...args]);
}

/**
 * The network of native hosts. A namespace of its own holds a bridge for each host, and a link between each two bridges
 * that can be cut or made slow alone. The links are isolated ports: frames do not go round.
 *
 *     host1: eth0 --- p0 [b0] m0-1 ------ m1-0 [b1] p1 --- eth0 :host2
 */
export class NativeNetwork implements LabNetwork {
  readonly #names: readonly string[];
  readonly #root: string;
  readonly #holder: ChildProcess;
  readonly #conditions = new Map<string, LinkCondition>();

  private constructor(names: readonly string[], root: string, holder: ChildProcess) {
    this.#names = names;
    this.#root = root;
    this.#holder = holder;
  }

  /** Makes the bridges and links; `root` is the host tree, whose iproute2 is used. */
  static async start(names: readonly string[], root: string): Promise<NativeNetwork> {
    // It lives as long as its standard input is open, and no longer than this process.
    const holder = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', '--net', 'sh', '-c', 'echo ready; exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true,
    });
    holder.on('error', () => {});
    const network = new NativeNetwork(names, root, holder);
    await new Promise<void>((resolve, reject) => {
      holder.stdout?.once('data', () => resolve());
      holder.once('exit', () =>
        reject(new LabError('native hosts need the right to make network namespaces: run as root')),
      );
    });
    try {
      for (const index of names.keys()) {
        await network.#ip('link', 'add', `b${index}`, 'type', 'bridge');
        await network.#ip('link', 'set', `b${index}`, 'up');
      }
      for (const a of names.keys()) for (const b of names.keys()) if (a < b) await network.#connect(a, b);
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  async #connect(a: number, b: number): Promise<void> {
    await this.#ip('link', 'add', `m${a}-${b}`, 'type', 'veth', 'peer', 'name', `m${b}-${a}`);
    for (const [own, other] of [
      [a, b],
      [b, a],
    ]) {
      await this.#ip('link', 'set', `m${own}-${other}`, 'master', `b${own}`, 'up');
      await this.#run('bridge', 'link', 'set', 'dev', `m${own}-${other}`, 'isolated', 'on');
    }
  }

  /** Gives the host whose namespaces process `pid` is in its card. */
  async attach(index: number, pid: number): Promise<void> {
    await this.#ip('link', 'add', `p${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid));
    await this.#ip('link', 'set', `p${index}`, 'master', `b${index}`, 'up');
    const inHost = (...args: string[]) => this.#runIn(pid, 'ip', ...args);
    await inHost('link', 'set', 'eth0', 'address', hostMac(index));
    await inHost('address', 'add', `${hostAddress(index)}/24`, 'dev', 'eth0');
    await inHost('link', 'set', 'eth0', 'up');
  }

  /** Takes away the card of a host that is gone. */
  async detach(index: number): Promise<void> {
    try {
      await this.#ip('link', 'delete', `p${index}`);
    } catch (error) {
      // The kernel, which removes it with the host's namespaces, may be the first to do it.
      if (!(error instanceof ExecuteError) || !error.message.includes('Cannot find device')) throw error;
    }
  }

  /** Unplugs a host's card from its bridge, or plugs it in again. */
  async plug(index: number, isIn: boolean): Promise<void> {
    await this.#ip('link', 'set', `p${index}`, isIn ? 'up' : 'down');
  }

  #ip(...args: string[]): Promise<string> {
    return this.#run('ip', ...args);
  }

  #run(program: string, ...args: string[]): Promise<string> {
    return this.#runIn(this.#holder.pid ?? -1, program, ...args);
  }

  #runIn(pid: number, program: string, ...args: string[]): Promise<string> {
    return executeInNetworkOf(pid, this.#root, program, ...args);
  }

  async #set(choice: LinkChoice | undefined, condition: LinkCondition): Promise<void> {
    for (const [from, to] of chosenLinks(choice, this.#names)) this.#conditions.set(`m${from}-${to}`, condition);
    for (const a of this.#names.keys()) for (const b of this.#names.keys()) if (a < b) await this.#apply(a, b);
  }

  /** Brings the link between two hosts to the condition it should have in each direction. */
  async #apply(a: number, b: number): Promise<void> {
    const ends = [`m${a}-${b}`, `m${b}-${a}`];
    const conditions = ends.map((end) => this.#conditions.get(end) ?? goodLink);
    const isCut = conditions.every(({ loss }) => loss >= 1);
    for (const [index, end] of ends.entries()) {
      await this.#ip('link', 'set', end, isCut ? 'down' : 'up');
      const condition = conditions[index] ?? goodLink;
      await this.#run('tc', 'qdisc', 'del', 'dev', end, 'root').catch(() => {});
      if (!isCut && condition !== goodLink) await this.#shape(end, condition);
    }
  }

  async #shape(end: string, { loss, delayMs, bytesPerSecond }: LinkCondition): Promise<void> {
    const rate = bytesPerSecond === undefined ? [] : ['rate', `${Math.round(bytesPerSecond * 8)}bit`];
    const netem = ['netem', 'loss', `${loss * 100}%`, 'delay', `${delayMs}ms`, ...rate];
    try {
      await this.#run('tc', 'qdisc', 'add', 'dev', end, 'root', ...netem);
    } catch (cause) {
      if (!(cause instanceof ExecuteError)) throw cause;
      throw new LabError('this kernel cannot degrade a link: it has no sch_netem (modprobe sch_netem)', { cause });
    }
  }

  cut(link: LinkChoice): Promise<void> {
    return this.#set(link, deadLink);
  }

  degrade(link: LinkChoice, condition: Partial<LinkCondition>): Promise<void> {
    return this.#set(link, { ...goodLink, ...condition });
  }

  restore(link?: LinkChoice): Promise<void> {
    return this.#set(link, goodLink);
  }

  watch(): Promise<void> {
    return Promise.reject(
      new LabError(
        "frames of native hosts are not watched; set LAB=emulated, or use what watches a machine's own bridges",
      ),
    );
  }

  close(): Promise<void> {
    return endProcess(this.#holder);
  }
}

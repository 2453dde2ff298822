import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { bundle } from './bundle.ts';
import { endProcess } from './end-process.ts';
import { LabError } from './errors.ts';
import { chosenLinks, deadLink, goodLink, type LabNetwork, type LinkChoice, type LinkCondition } from './network.ts';
import type { SwitchOrder, SwitchWord } from './switch-process.ts';

type OrderBody<T = SwitchOrder> = T extends unknown ? Omit<T, 'number'> : never;

/** The network of emulated hosts: their cards' sockets all end in one switch process. */
export class EmulatedNetwork implements LabNetwork {
  readonly #names: readonly string[];
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, () => void>();
  #orders = 0;
  #spoke: (name: string) => void = () => {};

  private constructor(names: readonly string[], child: ChildProcess) {
    this.#names = names;
    this.#process = child;
    child.on('message', (word: SwitchWord) => {
      if (typeof word === 'object') {
        this.#spoke(names[word.spoke] ?? '');
        return;
      }
      this.#waiting.get(word)?.();
      this.#waiting.delete(word);
    });
  }

  static async start(names: readonly string[]): Promise<EmulatedNetwork> {
    const program = bundle('switch-process.ts');
    const node = [process.execPath, '--input-type=module', '-e', program, '--', String(names.length)];
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...node], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    });
    child.on('error', () => {});
    return new EmulatedNetwork(names, child);
  }

  #order(body: OrderBody, socket?: Socket): Promise<void> {
    const order: SwitchOrder = { ...body, number: ++this.#orders };
    return new Promise((resolve, reject) => {
      this.#waiting.set(order.number, resolve);
      this.#process.send(order, socket, {}, (cause) => {
        if (cause !== null) reject(new LabError('the network of the lab is gone', { cause }));
      });
    });
  }

  /** Plugs a host's card in; the socket belongs to the switch from now on. */
  attach(port: number, socket: Socket): Promise<void> {
    return this.#order({ kind: 'attach', port }, socket);
  }

  async #set(choice: LinkChoice | undefined, condition: LinkCondition): Promise<void> {
    await this.#order({ kind: 'condition', links: chosenLinks(choice, this.#names), condition });
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

  watch(mac: string, spoke: (name: string) => void): Promise<void> {
    this.#spoke = spoke;
    return this.#order({ kind: 'watch', mac });
  }

  close(): Promise<void> {
    return endProcess(this.#process);
  }
}

import { createSocket, type Socket } from 'node:dgram';
import type { Test } from 'tap';
import { Pair } from './pair.ts';
import { freeName, ip, makeInterface } from './taps.ts';
import { answered, answering } from './virtio-guests.ts';
import { kernelFile, type VmmProcess } from './vmm-process.ts';

const mac = '02:00:00:00:00:07';
const macBytes = [2, 0, 0, 0, 0, 7];
const headBytes = answered.payload;
const payloadBytes = answered.bytes - headBytes;
/** A network of four addresses: while a test has it, the host reaches nothing else that has one of them. */
const network = { client: '198.18.71.1', guest: '198.18.71.2', prefix: 30 };

/** A client on a bridge to which both machines' cards belong. */
export class Client {
  readonly #socket: Socket;
  #heard: (answer: Buffer) => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (answer) => this.#heard(answer));
  }

  static async make(t: Test): Promise<{ client: Client; bridge: string }> {
    const bridge = makeInterface(t, 'bridge');
    ip('link', 'set', bridge, 'type', 'bridge', 'forward_delay', '0');
    ip('link', 'set', bridge, 'addrgenmode', 'none', 'up');
    ip('address', 'add', `${network.client}/${network.prefix}`, 'dev', bridge);
    const socket = createSocket('udp4');
    t.teardown(() => socket.close());
    await new Promise<void>((resolve) => socket.bind(0, network.client, resolve));
    return { client: new Client(socket), bridge };
  }

  /** Asks until there is an answer to this question: its number. @param patienceMs until it asks again */
  async ask(how: string, number: number, patienceMs = 1000): Promise<number> {
    const question = Buffer.alloc(payloadBytes);
    question.write(how, 0, 'latin1');
    question.writeUInt32LE(number, 12);
    for (;;) {
      const answer = new Promise<Buffer | undefined>((resolve) => {
        const timer = setTimeout(() => resolve(undefined), patienceMs);
        this.#heard = (heard) => {
          if (heard.readUInt32LE(12) !== number) return;
          clearTimeout(timer);
          resolve(heard);
        };
      });
      this.#socket.send(question, 7, network.guest);
      const heard = await answer;
      if (heard !== undefined) return heard.readUInt32LE(answered.count - headBytes);
    }
  }
}

/** Two machines whose cards belong to a bridge, with a guest that answers a client there. */
export class AnsweringPair {
  readonly pair: Pair;
  readonly client: Client;
  readonly #bridge: string;

  private constructor(pair: Pair, client: Client, bridge: string) {
    this.pair = pair;
    this.client = client;
    this.#bridge = bridge;
  }

  /** All that it makes is gone after the test. */
  static async make(t: Test): Promise<AnsweringPair> {
    const { client, bridge } = await Client.make(t);
    return new AnsweringPair(await Pair.make(t), client, bridge);
  }

  /** Flags of a machine's card. */
  get card(): string[] {
    return ['--net', `tap=${freeName()},bridge=${this.#bridge},mac=${mac}`];
  }

  get kernel(): string {
    return kernelFile(this.pair.folder, answering(0, macBytes, '>'));
  }

  /** The client knows where the guest is. Not before all cards are there: an interface that gets a port forgets its neighbours. */
  meet(): void {
    ip('neighbour', 'replace', network.guest, 'lladdr', mac, 'dev', this.#bridge, 'nud', 'permanent');
  }
}

/** Such a pair, protected. @param flags of the primary */
export async function protectAnswering(
  t: Test,
  flags: readonly string[],
  standbyFlags: readonly string[] = [],
): Promise<{ pair: Pair; client: Client; primary: VmmProcess; standby: VmmProcess }> {
  const made = await AnsweringPair.make(t);
  const { pair, client } = made;
  const standby = pair.standby(...made.card, ...standbyFlags);
  const primary = pair.primary(made.kernel, ...made.card, ...flags);
  await pair.protected();
  made.meet();
  return { pair, client, primary, standby };
}

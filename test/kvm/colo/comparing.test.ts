import { createSocket, type Socket } from 'node:dgram';
import { type Test, test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { Pair } from '../../support/pair.ts';
import { freeName, ip, makeInterface, noTaps } from '../../support/taps.ts';
import { answered, answering } from '../../support/virtio-guests.ts';
import { kernelFile, type VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm() || noTaps() || noEtcd();
const mac = '02:00:00:00:00:07';
const macBytes = [2, 0, 0, 0, 0, 7];
const headBytes = answered.payload;
const payloadBytes = answered.bytes - headBytes;
const comparing = ['--mode', 'comparing'];

/** A client on a bridge to which both machines' cards belong. */
class Client {
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
    ip('address', 'add', '203.0.113.1/24', 'dev', bridge);
    const socket = createSocket('udp4');
    t.teardown(() => socket.close());
    await new Promise<void>((resolve) => socket.bind(0, '203.0.113.1', resolve));
    return { client: new Client(socket), bridge };
  }

  /** Asks until there is an answer to this question: its number. */
  async ask(how: string, number: number): Promise<number> {
    const question = Buffer.alloc(payloadBytes);
    question.write(how, 0, 'latin1');
    question.writeUInt32LE(number, 12);
    for (;;) {
      const answer = new Promise<Buffer | undefined>((resolve) => {
        const timer = setTimeout(() => resolve(undefined), 1000);
        this.#heard = (heard) => {
          if (heard.readUInt32LE(12) !== number) return;
          clearTimeout(timer);
          resolve(heard);
        };
      });
      this.#socket.send(question, 7, '203.0.113.2');
      const heard = await answer;
      if (heard !== undefined) return heard.readUInt32LE(answered.count - headBytes);
    }
  }
}

async function protect(
  t: Test,
  ...flags: readonly string[]
): Promise<{ pair: Pair; client: Client; primary: VmmProcess; standby: VmmProcess }> {
  const { client, bridge } = await Client.make(t);
  const pair = await Pair.make(t);
  const card = (): string[] => ['--net', `tap=${freeName()},bridge=${bridge},mac=${mac}`];
  const standby = pair.standby(...card());
  const primary = pair.primary(kernelFile(pair.folder, answering(0, macBytes, '>')), ...card(), ...flags);
  await pair.protected();
  // Not before: an interface that gets a port forgets its neighbours.
  ip('neighbour', 'add', '203.0.113.2', 'lladdr', mac, 'dev', bridge, 'nud', 'permanent');
  return { pair, client, primary, standby };
}

test('answers that both guests give leave at once, and need no checkpoints', { skip }, async (t) => {
  const { pair, client } = await protect(t, ...comparing);
  const before = await pair.status('a', () => true);
  t.equal(before.mode, 'comparing');
  t.equal((await pair.status('b', () => true)).mode, 'comparing');
  const answers = 200;
  let last = 0;
  for (let number = 1; number <= answers; number++) {
    const count = await client.ask('s', number);
    t.ok(count > last, 'answers are counted on');
    last = count;
  }
  const { compared, mode } = await pair.status('a', () => true);
  if (compared === undefined) throw new Error('nothing is compared');
  t.equal(mode, 'comparing');
  t.ok(compared.released >= answers, `${compared.released} were released by comparison`);
  t.ok(compared.checkpoints < answers / 4, `${compared.checkpoints} checkpoints`);
  t.comment(JSON.stringify(compared));
});

test('answers on which the guests do not agree leave with a checkpoint', { skip }, async (t) => {
  const { pair, client } = await protect(t, ...comparing);
  for (let number = 1; number <= 3; number++) await client.ask('d', number);
  const { compared } = await pair.status('a', () => true);
  if (compared === undefined) throw new Error('nothing is compared');
  t.ok(compared.divergences >= 3, `${compared.divergences} times they did not agree`);
  const [{ what = '', cause = '' } = {}] = compared.recent;
  t.match(what, /^udp 203\.0\.113\.2:7 - 203\.0\.113\.1:\d+, byte \d+ of what the guest said: "/);
  t.match(cause, /guests/);
  for (let number = 4; number <= 10; number++) await client.ask('s', number);
  const after = await pair.status('a', () => true);
  t.equal(after.mode, 'comparing');
  t.comment(JSON.stringify(after.compared));
});

test('a guest that was compared goes on at its standby, with all that its clients were told', { skip }, async (t) => {
  const { pair, client, primary, standby } = await protect(t, ...comparing);
  let last = 0;
  for (let number = 1; number <= 50; number++) last = await client.ask(number === 20 ? 'd' : 's', number);
  await primary.endedBySignal('SIGKILL');
  const count = await client.ask('s', 51);
  t.ok(count > last, `answer ${count} comes after answer ${last}`);
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  t.match(standby.stderr, 'its guest runs already');
  for (let number = 52; number <= 60; number++) await client.ask('s', number);
});

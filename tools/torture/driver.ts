import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { QmpClient } from '../../src/vmm/client/qmp-client.ts';
import { tortureNetwork } from './guest-init.ts';
import { type ClockLook, type GuestReport, parseReport, type TortureResult } from './report.ts';

/**
 * The host's side of a torture, run by Node in the host: `driver.mjs ROUNDS reload|restore`, and the command line of
 * `colo-vmm`. It talks to the machine named `torture` and prints a {@link TortureResult}.
 */

const patienceSeconds = 120;
const errorsFile = '/tmp/restore.err';
const blockBytes = 4096;
const clockLooks = 5;
/** TCP_RTO_MAX of Linux, and time to spare. */
const longestBackoffMs = 180_000;
const { guest, echoPort } = tortureNetwork;

/** Sends numbered blocks to the guest's echo server, and compares what comes back. */
class EchoStream {
  echoedBytes = 0;
  failure: Error | undefined;
  readonly #socket: Socket;
  #sent = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => this.#compare(bytes));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the connection to the guest ended')));
    this.#send();
  }

  /** Waits until more comes back. While the guest was away TCP waited twice as long after each try, up to two minutes. */
  async goesOn(): Promise<void> {
    const before = this.echoedBytes;
    const deadline = performance.now() + longestBackoffMs;
    while (this.echoedBytes === before && this.failure === undefined && performance.now() < deadline) await sleep(50);
    if (this.echoedBytes === before) this.#fail(new Error('nothing more comes back from the guest'));
  }

  close(): void {
    this.failure ??= new Error('over');
    this.#socket.destroy();
  }

  #fail(error: Error): void {
    this.failure ??= error;
  }

  /** One block is on its way at a time, so that the guest has time for other things. */
  #send(): void {
    const block = Buffer.alloc(blockBytes);
    for (let at = 0; at < blockBytes; at += 4) block.writeUInt32LE(pattern(this.#sent + at), at);
    this.#sent += blockBytes;
    this.#socket.write(block);
  }

  #compare(bytes: Buffer): void {
    for (const byte of bytes) {
      const at = this.echoedBytes;
      const expected = (pattern(at - (at % 4)) >>> (8 * (at % 4))) & 0xff;
      if (byte !== expected) this.#fail(new Error(`byte ${at} of the echo is ${byte}, not ${expected}`));
      this.echoedBytes++;
    }
    if (this.echoedBytes === this.#sent) setTimeout(() => this.#send(), 5);
  }
}

function pattern(offset: number): number {
  return Math.imul(offset + 1, 0x9e37_79b1) >>> 0;
}

/** How often the guest is pinged, and what came of it. */
class Pings {
  readonly #process: ChildProcess;
  #text = '';

  constructor() {
    this.#process = spawn('ping', [guest], { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
    });
  }

  async end(): Promise<TortureResult['pings']> {
    const closed = once(this.#process, 'close');
    this.#process.kill('SIGINT');
    await closed;
    const [, sent = 0, received = 0] = (/(\d+) packets transmitted, (\d+) packets received/.exec(this.#text) ?? []).map(
      Number,
    );
    return { sent, received, doubled: this.#text.split('(DUP!)').length - 1 };
  }
}

/** What the guest answers. Not fetch: the guest's busybox ends lines of a header as Node does not like them. */
function ask(page: 'report' | 'clock'): Promise<string> {
  return outputOf(['curl', '-sSf', '-m', String(patienceSeconds), `http://${guest}/cgi-bin/${page}`]);
}

/** Looks at the guest's clock a few times, and keeps the look that is the most exact. */
async function lookAtClock(): Promise<ClockLook> {
  const looks: ClockLook[] = [];
  for (let look = 0; look < clockLooks; look++) {
    const askedMs = performance.now();
    const guestMs = Number(await ask('clock')) * 1000;
    const errorMs = (performance.now() - askedMs) / 2;
    looks.push({ guestMs, hostMs: askedMs + errorMs, errorMs });
  }
  return looks.reduce((best, look) => (look.errorMs < best.errorMs ? look : best));
}

async function report(): Promise<GuestReport & { clock: ClockLook }> {
  return { ...parseReport(await ask('report')), clock: await lookAtClock() };
}

/** The monitor of the machine. */
class Monitor {
  readonly #socket: Socket;
  readonly #client: QmpClient;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#client = new QmpClient(socket, socket);
  }

  static async open(): Promise<Monitor> {
    const socket = connect('/run/colo-vmm/torture.sock');
    await once(socket, 'connect');
    socket.on('error', () => {});
    const monitor = new Monitor(socket);
    await monitor.ask('qmp_capabilities');
    return monitor;
  }

  ask(command: string): Promise<unknown> {
    return this.#client.execute(command);
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** How long a round stopped the guest, and what of that its clock makes up for. */
interface Stop {
  readonly stoppedMs: number;
  readonly jumpMs: number;
}

/** Has a running machine save and load its state in place. */
class Reloads {
  readonly #monitor: Monitor;

  constructor(monitor: Monitor) {
    this.#monitor = monitor;
  }

  async round(): Promise<Stop> {
    const answer = (await this.#monitor.ask('x-reload')) as { 'stopped-ms': number };
    return { stoppedMs: answer['stopped-ms'], jumpMs: 0 };
  }

  close(): void {
    this.#monitor.close();
  }
}

/** Has a machine end with a snapshot, and go on from it in a new process, whose guest's clock shows what time it is. */
class Restores {
  readonly #command: readonly string[];
  #machine: ChildProcess | undefined;

  constructor(command: readonly string[]) {
    this.#command = command;
  }

  async round(): Promise<Stop> {
    const file = '/tmp/torture.snap';
    const asked = performance.now();
    await outputOf([...this.#command, 'snapshot', '--vm', 'torture', '--stop', file]);
    const [program = '', ...args] = [
      ...[...this.#command, 'restore', file, '--name', 'torture', '--clock', 'jump', '--serial', 'file=/tmp/console'],
    ];
    // Not a pipe of ours: the last machine outlives this program.
    const errors = openSync(errorsFile, 'w');
    const machine = spawn(program, args, { stdio: ['ignore', 'ignore', errors], detached: true });
    closeSync(errors);
    this.#machine = machine;
    await this.#running(machine);
    const stoppedMs = performance.now() - asked;
    return { stoppedMs, jumpMs: stoppedMs };
  }

  close(): void {
    this.#machine?.unref();
  }

  /** Waits until the new process has its machine running: before, its socket does not answer. */
  async #running(machine: ChildProcess): Promise<void> {
    for (const deadline = performance.now() + patienceSeconds * 1000; performance.now() < deadline; await sleep(50)) {
      if (machine.exitCode !== null) break;
      const client = await Monitor.open().catch(() => undefined);
      if (client === undefined) continue;
      const { running } = (await client.ask('query-status')) as { running: boolean };
      client.close();
      if (running) return;
    }
    throw new Error(`the machine was not restored (${machine.exitCode}): ${readFileSync(errorsFile, 'utf8')}`);
  }
}

/** A jump of the guest's clock may go in steps: what is still to come. */
async function clockBehindMs(): Promise<number> {
  const monitor = await Monitor.open();
  const { 'clock-behind-ms': behindMs } = (await monitor.ask('x-query-machine')) as { 'clock-behind-ms': number };
  monitor.close();
  return behindMs;
}

/** How long it takes depends on the host; that it goes on does not. */
async function clockIsRight(): Promise<void> {
  let least = Number.POSITIVE_INFINITY;
  let since = performance.now();
  for (let behindMs = await clockBehindMs(); behindMs > 0; behindMs = await clockBehindMs()) {
    if (behindMs < least) {
      least = behindMs;
      since = performance.now();
    } else if (performance.now() > since + patienceSeconds * 1000) {
      throw new Error(`the guest's clock stays ${behindMs} ms behind`);
    }
    await sleep(200);
  }
}

async function outputOf(argv: readonly string[]): Promise<string> {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0) throw new Error(`${argv.join(' ')} ended with status ${status}`);
  return text;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const [, , roundsText = '', mode = '', ...command] = process.argv;
const rounds = Number(roundsText);
const socket = connect(echoPort, guest);
await once(socket, 'connect');
const echo = new EchoStream(socket);
const pings = new Pings();
const torture = mode === 'reload' ? new Reloads(await Monitor.open()) : new Restores(command);
const before = await report();
let stoppedMs = 0;
let longestStopMs = 0;
let longestJumpMs = 0;
for (let round = 1; round <= rounds; round++) {
  // Mostly: a machine is also saved while its clock still has a way to go.
  if (round % 5 !== 0) await clockIsRight();
  // Now here, now there in what the guest does.
  await sleep(20 + ((round * 37) % 200));
  if (echo.failure !== undefined) throw new Error(`round ${round}: ${echo.failure.message}`);
  const behindMs = await clockBehindMs();
  const stop = await torture.round();
  stoppedMs += stop.stoppedMs - stop.jumpMs;
  longestStopMs = Math.max(longestStopMs, stop.stoppedMs);
  longestJumpMs = Math.max(longestJumpMs, behindMs + stop.jumpMs);
  if (round % 10 === 0) process.stderr.write(`round ${round} of ${rounds}, ${echo.echoedBytes} bytes echoed\n`);
}
await sleep(1000);
await clockIsRight();
await echo.goesOn();
const after = await report();
if (echo.failure !== undefined) throw echo.failure;
const result: TortureResult = {
  rounds,
  stoppedMs,
  longestStopMs,
  longestJumpMs,
  echoedBytes: echo.echoedBytes,
  pings: await pings.end(),
  before,
  after,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
echo.close();
torture.close();
process.exit(0);

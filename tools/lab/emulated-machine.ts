import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { LabError } from './errors.ts';
import { type Machine, Tail } from './machine.ts';
import { qemuFds } from './outer-qemu.ts';

const consoleKept = 64 * 1024;
const stderrKept = 4 * 1024;

/** An emulator. */
export interface EmulatedMachine extends Machine {
  /** The far end of its network card, if it has one. */
  readonly networkPort: Socket | undefined;
}

/**
 * Starts an emulator. Everything between it and the lab is an inherited socket or
 * descriptor (`disks`), so it leaves no file; and the kernel
 * kills it when the thread that started it ends, however that ends.
 */
export function startEmulatedMachine(
  command: { program: string; args: readonly string[] },
  { networked, disks }: { networked: boolean; disks: readonly number[] },
): EmulatedMachine {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command.program, ...command.args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', networked ? 'pipe' : 'ignore', ...disks],
    // Its own process group: a terminal's Ctrl-C is for the lab, which then ends the host.
    detached: true,
  });
  const consoleText = new Tail(consoleKept);
  const said = new Tail(stderrKept);
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => said.add(text));
  }
  const socket = (fd: number) => child.stdio[fd] as unknown as Duplex;
  const [console, channel, monitor] = [socket(qemuFds.console), socket(qemuFds.agent), socket(qemuFds.monitor)];
  console.setEncoding('utf8').on('data', (text: string) => consoleText.add(text));
  // A monitor nobody reads would fill up.
  monitor.resume();
  for (const stream of [console, channel, monitor]) stream.on('error', () => {});
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(`setpriv could not be started: ${error.message}`));
    child.on('exit', (status, signal) => {
      const how = signal === null ? `exit status ${status}` : signal;
      const panic = /Kernel panic[^\n]*/.exec(consoleText.text)?.[0];
      resolve(panic ?? [`the emulator ended (${how})`, ...complaints(said.text)].join('; '));
    });
  });
  const signal = (name: NodeJS.Signals) => {
    if (child.pid === undefined || !child.kill(name)) throw new LabError(`the emulator could not get ${name}`);
  };
  return {
    channel,
    losesInterrupts: true,
    networkPort: networked ? (socket(qemuFds.network) as Socket) : undefined,
    ended,
    consoleTail: () => consoleText.text,
    hang: async () => signal('SIGSTOP'),
    unhang: async () => signal('SIGCONT'),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Warnings are about CPU features the emulation lacks: known, and the same every time. */
function complaints(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '' && !line.includes('warning:'));
}

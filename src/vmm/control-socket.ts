import { existsSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { ConfigError } from './config.ts';
import { greeting, type MonitoredMachine, QmpSession } from './qmp.ts';

/** sockaddr_un.sun_path less its NUL. Node cuts what is longer without a word. */
const pathLimitBytes = 107;
/** A line longer than this is not QMP; its client is let go. */
const lineLimitBytes = 1024 * 1024;
/** Answers a client may leave unread before it is let go. */
const unreadLimitBytes = 1024 * 1024;

/** Directory of the control sockets of this user's machines. */
export function controlDirectory(): string {
  const runtime = process.env.XDG_RUNTIME_DIR;
  if (runtime !== undefined) return `${runtime}/colo-vmm`;
  return process.getuid?.() === 0 ? '/run/colo-vmm' : `/tmp/colo-vmm-${process.getuid?.()}`;
}

/** Serves QMP on a UNIX socket: any number of clients, none of which can harm the others or the machine. */
export class ControlSocket {
  readonly path: string;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  #machine: MonitoredMachine | undefined;

  private constructor(path: string, server: Server) {
    this.path = path;
    this.#server = server;
    server.on('connection', (socket) => this.#serve(socket));
    server.unref();
  }

  /**
   * Takes the socket. One left behind by a process that died is replaced.
   *
   * @throws ConfigError if another VMM answers there, or the place will not do
   */
  static async claim(path: string): Promise<ControlSocket> {
    if (Buffer.byteLength(path) > pathLimitBytes) {
      throw new ConfigError(
        `--control ${path}: a socket's path has at most ${pathLimitBytes} bytes; give a shorter one`,
      );
    }
    const directory = dirname(path);
    try {
      if (directory === controlDirectory()) mkdirSync(directory, { recursive: true, mode: 0o700 });
      else if (!existsSync(directory)) throw new Error(`there is no directory ${directory}`);
      return new ControlSocket(path, await listen(path));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'EADDRINUSE') throw new ConfigError(`--control ${path}: ${message}`);
    }
    if (!lstatSync(path).isSocket()) {
      throw new ConfigError(`--control ${path}: a file that is no socket is in the way; give another path`);
    }
    if (await answers(path)) {
      throw new ConfigError(`--control ${path}: another VMM serves this socket; give another path, or end that one`);
    }
    unlinkSync(path);
    return new ControlSocket(path, await listen(path));
  }

  /** Clients can talk to the machine from here on; before, they wait. */
  serve(machine: MonitoredMachine): void {
    this.#machine = machine;
    for (const socket of this.#clients) this.#converse(socket, machine);
  }

  /** Lets all clients go and removes the socket. */
  close(): void {
    for (const socket of this.#clients) socket.destroySoon();
    this.#server.close(); // which also unlinks the path
  }

  #serve(socket: Socket): void {
    socket.unref();
    this.#clients.add(socket);
    socket.on('close', () => this.#clients.delete(socket));
    socket.on('error', () => socket.destroy());
    if (this.#machine !== undefined) this.#converse(socket, this.#machine);
  }

  #converse(socket: Socket, machine: MonitoredMachine): void {
    const session = new QmpSession(machine);
    let rest = '';
    socket.setEncoding('utf8');
    socket.write(`${JSON.stringify(greeting)}\r\n`);
    socket.on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line.trim().length > 0) socket.write(`${JSON.stringify(session.answer(line))}\r\n`);
      }
      if (rest.length > lineLimitBytes || socket.writableLength > unreadLimitBytes) socket.destroy();
    });
  }
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(path, () => resolve(server));
  });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

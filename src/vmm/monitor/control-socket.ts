import { existsSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { makeFolders } from '../../host/files/make-folders.ts';
import { ConfigError } from '../config/config.ts';
import { controlDirectory, requireOwnDirectory } from './control-directory.ts';
import type { Monitor } from './monitor.ts';
import { QmpConnection } from './qmp-connection.ts';

/** sockaddr_un.sun_path less its NUL. Node cuts what is longer without a word. */
const pathLimitBytes = 107;
/**
 * Clients at a time. More would be of use to nobody; beyond it the oldest that has not
 * negotiated makes room, so that connections left open do not lock out who has something to say.
 */
const mostClients = 64;

/** Serves QMP on a UNIX socket: any number of clients, none of which can harm the others or the machine. */
export class ControlSocket {
  readonly path: string;
  readonly #server: Server;
  /** In the order in which they came; served once there is a machine. */
  readonly #clients = new Map<Socket, QmpConnection | undefined>();
  #monitor: Monitor | undefined;

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
      if (directory === controlDirectory()) {
        makeFolders(directory, 0o700);
        requireOwnDirectory(directory);
      } else if (!existsSync(directory)) throw new Error(`there is no directory ${directory}`);
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
  serve(monitor: Monitor): void {
    this.#monitor = monitor;
    for (const socket of this.#clients.keys()) this.#clients.set(socket, new QmpConnection(socket, monitor));
  }

  /** Lets all clients go and removes the socket. */
  close(): void {
    for (const socket of this.#clients.keys()) socket.destroySoon();
    this.#server.close(); // which also unlinks the path
  }

  #serve(socket: Socket): void {
    socket.unref();
    socket.on('close', () => this.#clients.delete(socket));
    socket.on('error', () => socket.destroy());
    if (this.#clients.size >= mostClients && !this.#makeRoom()) {
      socket.destroy();
      return;
    }
    this.#clients.set(socket, this.#monitor && new QmpConnection(socket, this.#monitor));
  }

  /** Lets the oldest client go that has not negotiated; false if all have. */
  #makeRoom(): boolean {
    for (const [socket, connection] of this.#clients) {
      if (connection?.negotiated) continue;
      this.#clients.delete(socket);
      socket.destroy();
      return true;
    }
    return false;
  }
}

function listen(path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    // A client that has asked all it wants still gets its answers.
    const server = createServer({ allowHalfOpen: true });
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

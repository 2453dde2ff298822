import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { type StreamName, streams } from '../protocol/message-table.ts';
import type { Role } from '../protocol/numbers.ts';
import { LinkError } from './dial.ts';
import { PeerLink } from './peer-link.ts';
import {
  explainHandshakeError,
  explainStranger,
  identify,
  type LinkSecurity,
  type PeerIdentity,
  tlsOptions,
} from './peer-security.ts';
import { readExactly } from './read-exactly.ts';
import { decodePreamble, encodePreamble, preambleBytes, type StreamPreamble } from './stream-preamble.ts';

export interface ListenOptions {
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
  readonly security: LinkSecurity;
  /** Of this side. */
  readonly role: Role;
  /** How long a connection may take until it is part of a link, in ms: handshake, preamble, and the link's others. */
  readonly patienceMs: number;
  /** A link is whole. Whoever does not want it destroys it. */
  readonly linked: (link: PeerLink) => void;
  /** For the log: who was turned away, and why. At most one a second. */
  readonly refused: (reason: string) => void;
}

/** Connections that are not part of a link yet. Beyond, the oldest one makes room: a flood must not lock the peer out. */
const mostStrangers = 32;
const refusalPeriodMs = 1000;

/** A connection that showed who it is and what it is for. */
interface Arrival {
  readonly socket: Socket;
  readonly peer: PeerIdentity;
  readonly preamble: StreamPreamble;
}

/** A connection below TLS, if there is TLS, that is not part of a link yet. */
interface Stranger {
  readonly socket: Socket;
  readonly patience: NodeJS.Timeout;
}

/** Waits for links. Strangers cost bounded memory and time, and are turned away. */
export class PeerListener {
  readonly #options: ListenOptions;
  readonly #server: Server;
  /** By their address, which is that of the TLS connection on top of it too; in the order in which they came. */
  readonly #strangers = new Map<string, Stranger>();
  readonly #arrivals = new Map<string, Map<StreamName, Arrival>>();
  #nextRefusal = 0;

  private constructor(options: ListenOptions) {
    this.#options = options;
    const { security } = options;
    this.#server = security.kind === 'tls' ? createTlsServer(tlsOptions(security.keys)) : createTcpServer();
    // Of TLS too: this is the connection below it.
    this.#server.on('connection', (socket: Socket) => this.#connected(socket));
    this.#server.on(security.kind === 'tls' ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#authenticated(socket);
    });
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      // The connection is gone by now: Node, or the peer itself, has ended it.
      const reason = explainHandshakeError(error, socket, security);
      this.#tell(`${socket.remoteAddress ?? 'a connection'} ${reason}`);
      socket.destroy();
    });
  }

  /** @throws LinkError if the address cannot be listened on */
  static async start(options: ListenOptions): Promise<PeerListener> {
    const { host, port } = options;
    const listener = new PeerListener(options);
    await new Promise<void>((resolve, reject) => {
      listener.#server.once('error', (error: NodeJS.ErrnoException) => {
        reject(new LinkError(`${host}:${port} cannot be listened on: ${error.code ?? error.message}`));
      });
      listener.#server.listen({ host, port }, resolve);
    });
    // What comes now (no descriptors left) concerns one connection, which the kernel keeps waiting.
    listener.#server.on('error', (error) => listener.#tell(error.message));
    return listener;
  }

  /** Where it listens. */
  get port(): number {
    const address = this.#server.address();
    return address === null || typeof address === 'string' ? 0 : address.port;
  }

  /** Takes no more connections, and drops those that are not part of a link. */
  close(): void {
    this.#server.close();
    for (const [address, { socket }] of this.#strangers) {
      this.#known(address);
      socket.destroy();
    }
  }

  #connected(socket: Socket): void {
    socket.on('error', () => {});
    const address = addressOf(socket);
    const { patienceMs } = this.#options;
    const patience = setTimeout(() => this.#refuse(socket, `said nothing within ${patienceMs} ms`), patienceMs);
    this.#strangers.set(address, { socket, patience });
    socket.once('close', () => this.#known(address));
    const [oldest] = this.#strangers.values();
    if (this.#strangers.size > mostStrangers && oldest !== undefined)
      this.#refuse(oldest.socket, 'made room for others');
  }

  /** It is part of a link, or gone. */
  #known(address: string): void {
    clearTimeout(this.#strangers.get(address)?.patience);
    this.#strangers.delete(address);
  }

  #authenticated(socket: Socket): void {
    socket.on('error', () => {});
    const peer = identify(socket, this.#options.security);
    if (typeof peer === 'string') {
      this.#refuse(socket, peer);
      return;
    }
    readExactly(socket, preambleBytes, (bytes) => {
      const preamble = decodePreamble(bytes);
      if (preamble === undefined) {
        this.#refuse(socket, explainStranger(bytes));
        return;
      }
      if (preamble.role === this.#options.role) {
        // Two standbys look for each other all the time, and neither has anything for the other one.
        socket.destroy();
        return;
      }
      this.#arrived({ socket, peer, preamble });
    });
  }

  #arrived(arrival: Arrival): void {
    const { link, stream } = arrival.preamble;
    const group = this.#arrivals.get(link) ?? new Map<StreamName, Arrival>();
    this.#arrivals.set(link, group);
    const [other] = group.values();
    if (
      group.has(stream) ||
      (other !== undefined && other.peer.fingerprint !== arrival.peer.fingerprint) ||
      (other !== undefined && other.preamble.role !== arrival.preamble.role)
    ) {
      this.#refuse(arrival.socket, 'claims a place in a link that is taken');
      return;
    }
    group.set(stream, arrival);
    arrival.socket.once('close', () => {
      if (this.#arrivals.get(link) !== group) return;
      group.delete(stream);
      if (group.size === 0) this.#arrivals.delete(link);
    });
    if (group.size < streams.length) return;
    this.#arrivals.delete(link);
    void this.#linked(group, arrival.peer);
  }

  /**
   * Whoever gets the link may close it at once, with what the kernel has not yet: TLS keeps what is written while it hands over what it
   * wrote before.
   */
  async #linked(group: ReadonlyMap<StreamName, Arrival>, peer: PeerIdentity): Promise<void> {
    const { linked, role, security } = this.#options;
    const sockets = new Map([...group].map(([name, { socket }]) => [name, socket]));
    await Promise.all(
      [...group.values()].map(({ socket, preamble }) => {
        // Told too when the connection ends before.
        return new Promise((written) => socket.write(encodePreamble(preamble), written));
      }),
    );
    const all = [...sockets.values()];
    if (all.some(({ destroyed }) => destroyed)) {
      for (const socket of all) socket.destroy();
      return;
    }
    for (const socket of all) this.#known(addressOf(socket));
    linked(new PeerLink(sockets, { role, peer, secure: security.kind === 'tls' }));
  }

  #refuse(socket: Socket, reason: string): void {
    // One that was closed meanwhile has been spoken of, or does not matter.
    if (!socket.destroyed) this.#tell(`${socket.remoteAddress ?? 'a connection'} ${reason}`);
    socket.destroy();
  }

  #tell(reason: string): void {
    const now = performance.now();
    if (now < this.#nextRefusal) return;
    this.#nextRefusal = now + refusalPeriodMs;
    this.#options.refused(reason);
  }
}

function addressOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}

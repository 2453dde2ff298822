import { randomBytes } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type StreamName, streams } from '../protocol/message-table.ts';
import type { Role } from '../protocol/numbers.ts';
import { PeerLink } from './peer-link.ts';
import {
  brokenOff,
  explainClosing,
  explainConnectionError,
  identify,
  type LinkSecurity,
  type PeerIdentity,
  tlsOptions,
} from './peer-security.ts';
import { readExactly } from './read-exactly.ts';
import { encodePreamble, preambleBytes } from './stream-preamble.ts';

/** No link came about. The message names the peer, and says what would help. */
export class LinkError extends Error {
  readonly code = 'COLO_LINK';

  constructor(message: string) {
    super(message);
    this.name = 'LinkError';
  }
}

export interface DialOptions {
  readonly host: string;
  readonly port: number;
  readonly security: LinkSecurity;
  /** Of this side. */
  readonly role: Role;
  /** How long all of it may take, in ms. */
  readonly patienceMs: number;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

/** Opens a link to a peer that listens. @throws LinkError, and no connection is left */
export async function dial(options: DialOptions): Promise<PeerLink> {
  const { host, port, security, role, patienceMs, signal } = options;
  const place = `${host}:${port}`;
  const link = randomBytes(16).toString('hex');
  const sockets = new Map<StreamName, Socket>();
  let speaksTls = false;
  const patience = AbortSignal.timeout(patienceMs);
  const giveUp = AbortSignal.any(signal === undefined ? [patience] : [patience, signal]);
  try {
    const peers = await Promise.all(
      streams.map(async (stream) => {
        const socket = open(host, port, security);
        sockets.set(stream, socket);
        await once(socket, giveUp, (resolve) => {
          socket.once(security.kind === 'tls' ? 'secureConnect' : 'connect', resolve);
        });
        speaksTls = security.kind === 'tls';
        const peer = identify(socket, security);
        if (typeof peer === 'string') throw new LinkError(`${place} ${peer}`);
        const preamble = encodePreamble({ link, stream, role });
        socket.write(preamble);
        const answer = await once<Uint8Array>(socket, giveUp, (resolve) => {
          readExactly(socket, preambleBytes, resolve);
        });
        if (!Buffer.from(preamble).equals(answer)) throw new LinkError(`${place} is no colo-vmm`);
        return peer;
      }),
    );
    const [peer] = peers as [PeerIdentity];
    if (peers.some(({ fingerprint }) => fingerprint !== peer.fingerprint)) {
      throw new LinkError(
        `${place} leads to several hosts (${peers.map((each) => each.host).join(', ')}); name one of them`,
      );
    }
    return new PeerLink(sockets, { role, peer, secure: security.kind === 'tls' });
  } catch (error) {
    for (const socket of sockets.values()) socket.destroy();
    if (error instanceof LinkError) throw error;
    if (signal?.aborted) throw new LinkError(`${place}: given up`);
    if (patience.aborted) throw new LinkError(`${place} did not answer within ${patienceMs} ms`);
    const failure = error as NodeJS.ErrnoException;
    const closed = failure.code === brokenOff;
    throw new LinkError(
      `${place} ${closed ? explainClosing(security, role, speaksTls) : explainConnectionError(failure, security)}`,
    );
  }
}

function open(host: string, port: number, security: LinkSecurity): Socket {
  const socket =
    security.kind === 'plaintext'
      ? connectTcp({ host, port })
      : connectTls({ host, port, ...tlsOptions(security.keys), checkServerIdentity: () => undefined });
  // Errors between two waits are seen by the next one; none may be without a listener.
  socket.on('error', () => {});
  return socket;
}

/** What `start` resolves with, unless the connection ends or this side gives up before. */
function once<T = void>(socket: Socket, giveUp: AbortSignal, start: (resolve: (value: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const abandoned = (): void => settle(() => reject(new Error('aborted')));
    const failed = (error: Error): void => settle(() => reject(error));
    const closed = (): void => settle(() => reject(Object.assign(new Error('closed'), { code: brokenOff })));
    const settle = (act: () => void): void => {
      giveUp.removeEventListener('abort', abandoned);
      socket.off('error', failed).off('close', closed);
      act();
    };
    giveUp.addEventListener('abort', abandoned);
    socket.once('error', failed).once('close', closed);
    start((value) => settle(() => resolve(value)));
  });
}

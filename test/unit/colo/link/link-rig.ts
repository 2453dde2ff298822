import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type KeySet, loadKeySet } from '../../../../src/colo/keys/key-set.ts';
import { keysCommand } from '../../../../src/colo/keys/keys-command.ts';
import { signHost } from '../../../../src/colo/keys/pair-authority.ts';
import { type DialOptions, dial } from '../../../../src/colo/link/dial.ts';
import type { LinkEnd, PeerLink } from '../../../../src/colo/link/peer-link.ts';
import { PeerListener } from '../../../../src/colo/link/peer-listener.ts';
import type { LinkSecurity } from '../../../../src/colo/link/peer-security.ts';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import type { StreamName } from '../../../../src/colo/protocol/message-table.ts';

export const plaintext: LinkSecurity = { kind: 'plaintext' };

/** Key sets of two hosts of one pair. */
export async function pairOfKeys(t: Test, pair = 'web', days = '10'): Promise<readonly [KeySet, KeySet]> {
  const folders = await keysCommand(join(t.testdir(), pair), { pair, hosts: 'a.example,b.example', days });
  const [a, b] = folders.map((folder) => loadKeySet(folder));
  if (a === undefined || b === undefined) throw new Error('no keys');
  return [a, b];
}

/** The same host's, but with a certificate that was valid until half a day ago. */
export async function expired(keys: KeySet): Promise<KeySet> {
  const authority = join(keys.folder, '..', 'authority');
  const [key = '', certificate = ''] = ['key.pem', 'certificate.pem'].map((name) =>
    readFileSync(join(authority, name), 'utf8'),
  );
  return { ...keys, ...(await signHost({ key, certificate }, { ...keys, days: -0.5 })) };
}

export function tls(keys: KeySet): LinkSecurity {
  return { kind: 'tls', keys };
}

/** A listener on loopback, and all that it hands on. */
export class Listening {
  readonly links: PeerLink[] = [];
  readonly refusals: string[] = [];
  readonly #news = new EventTarget();
  #listener: PeerListener | undefined;

  get listener(): PeerListener {
    if (this.#listener === undefined) throw new Error('does not listen yet');
    return this.#listener;
  }

  static async start(t: Test, security: LinkSecurity, patienceMs = 5000): Promise<Listening> {
    const listening = new Listening();
    const listener = await PeerListener.start({
      host: '127.0.0.1',
      port: 0,
      security,
      role: 'secondary',
      patienceMs,
      linked: (link) => listening.#linked(link),
      refused: (reason) => listening.#refused(reason),
    });
    listening.#listener = listener;
    t.teardown(() => {
      listener.close();
      for (const link of listening.links) link.destroy();
    });
    return listening;
  }

  #linked(link: PeerLink): void {
    this.links.push(link);
    this.#news.dispatchEvent(new Event('link'));
  }

  #refused(reason: string): void {
    this.refusals.push(reason);
    this.#news.dispatchEvent(new Event('refusal'));
  }

  async link(): Promise<PeerLink> {
    if (this.links.length === 0) await once(this.#news, 'link');
    return this.links[0] as PeerLink;
  }

  async refusal(): Promise<string> {
    if (this.refusals.length === 0) await once(this.#news, 'refusal');
    return this.refusals[0] as string;
  }
}

export function dialing(
  { listener }: Listening,
  security: LinkSecurity,
  more: Partial<DialOptions> = {},
): Promise<PeerLink> {
  return dial({ host: '127.0.0.1', port: listener.port, security, role: 'primary', patienceMs: 5000, ...more });
}

/** A link of two sides in this process. */
export async function linkedPair(t: Test, a: LinkSecurity, b: LinkSecurity): Promise<readonly [Side, Side]> {
  const listening = await Listening.start(t, b);
  const link = await dialing(listening, a);
  t.teardown(() => link.destroy());
  return [new Side(link), new Side(await listening.link())];
}

/** What stands between two sides and hands on what comes, until it resets a connection as a firewall does. */
export class Middlebox {
  readonly port: number;
  readonly #connections: (readonly [Socket, Socket])[];

  private constructor(port: number, connections: (readonly [Socket, Socket])[]) {
    this.port = port;
    this.#connections = connections;
  }

  static async start(t: Test, target: number): Promise<Middlebox> {
    const connections: (readonly [Socket, Socket])[] = [];
    const server = createServer((near) => {
      const far = connect(target, '127.0.0.1');
      connections.push([near, far]);
      near.pipe(far).pipe(near);
      for (const socket of [near, far]) socket.on('error', () => {});
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return new Middlebox(address.port, connections);
  }

  reset(index: number): void {
    for (const socket of this.#connections[index] ?? []) socket.resetAndDestroy();
  }
}

/** One side's link with all that it heard. */
export class Side {
  readonly link: PeerLink;
  readonly frames: Frame[] = [];
  readonly drained: StreamName[] = [];
  readonly ends: LinkEnd[] = [];
  readonly #news = new EventTarget();

  constructor(link: PeerLink) {
    this.link = link;
    link.listen({
      received: (frame) => {
        this.frames.push(structuredClone(frame));
        this.#news.dispatchEvent(new Event('frame'));
      },
      drained: (stream) => {
        this.drained.push(stream);
        this.#news.dispatchEvent(new Event('drained'));
      },
      ended: (end) => {
        this.ends.push(end);
        link.destroy();
        this.#news.dispatchEvent(new Event('end'));
      },
    });
  }

  /** Waits until `count` frames have come, in all. */
  async received(count: number): Promise<readonly Frame[]> {
    while (this.frames.length < count) await once(this.#news, 'frame');
    return this.frames;
  }

  async end(): Promise<LinkEnd> {
    if (this.ends.length === 0) await once(this.#news, 'end');
    return this.ends[0] as LinkEnd;
  }

  async hasDrained(stream: StreamName): Promise<void> {
    while (!this.drained.includes(stream)) await once(this.#news, 'drained');
  }
}

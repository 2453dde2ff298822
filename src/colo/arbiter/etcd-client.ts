import * as http from 'node:http';
import * as https from 'node:https';
import { ArbiterError } from './arbiter.ts';
import { remedyFor } from './etcd-remedies.ts';

/** A user of etcd, if authentication is on there. */
export interface EtcdUser {
  readonly name: string;
  readonly password: string;
}

/** Certificates as PEM, for endpoints that begin with https. */
export interface EtcdTls {
  /** Authorities that the cluster's certificates are signed by; default the system's. */
  readonly ca?: string;
  /** This side's own certificate and key, if the cluster asks for one. */
  readonly cert?: string;
  readonly key?: string;
}

export interface EtcdClientOptions {
  /** URLs of the cluster's members, asked in turn. */
  readonly endpoints: readonly string[];
  readonly user?: EtcdUser;
  readonly tls?: EtcdTls;
  /** How long one member may take to answer, in ms. */
  readonly patienceMs: number;
  /** A member that has not answered for so long may still do so, but the next one is asked as well, in ms. */
  readonly turnMs?: number;
}

const defaultTurnMs = 500;

/** A key as etcd has it. `revision` is that of its last change, as a decimal string. */
export interface EtcdValue {
  readonly value: string;
  readonly revision: string;
}

/** No answer of etcd's that we are interested in is larger. */
const mostAnswerBytes = 65_536;
/** Of a foreign server's answer, as much is shown. */
const shownCharacters = 120;
/** gRPC's status code for a token that is missing, wrong or has expired. */
const unauthenticated = 16;
/** A token holds the revision of etcd's users and roles, and is refused after any change of them: with code 3, by older releases with 2. */
const outdatedToken = /revision of auth store/i;

/** Of a wrong name or password: code 3, as of much else, with this in the message. */
const wrongPassword = /authentication failed/i;

/** An answer of one member that is not the one hoped for; whether another member is to be asked. */
class MemberError extends Error {
  readonly grpcCode: number | undefined;
  /** A connection that was kept open had been closed at the other end meanwhile: a new one may do. */
  readonly stale: boolean;
  /** As of ArbiterError. */
  readonly isMisconfigured: boolean;

  constructor(
    message: string,
    {
      grpcCode,
      stale = false,
      isMisconfigured = false,
    }: { grpcCode?: number | undefined; stale?: boolean; isMisconfigured?: boolean } = {},
  ) {
    super(message);
    this.grpcCode = grpcCode;
    this.stale = stale;
    this.isMisconfigured = isMisconfigured;
  }
}

/**
 * etcd's v3 API, over its JSON gateway: as much of it as an arbiter needs. Reads are linearizable, as is etcd's default. A
 * member that does not answer soon is followed by the next one, and the first answer counts: slow is not dead. So a change may be
 * made twice: callers compare and swap.
 */
export class EtcdClient {
  readonly #options: EtcdClientOptions;
  readonly #agents = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true }) };
  readonly #closing = new AbortController();
  /** The member that answered last is asked first. */
  #first = 0;
  #token: string | undefined;

  constructor(options: EtcdClientOptions) {
    this.#options = options;
  }

  /** The value of `key`; undefined if there is none. @throws ArbiterError */
  async get(key: string): Promise<EtcdValue | undefined> {
    const { kvs } = await this.#ask('/v3/kv/range', { key: base64(key) });
    if (kvs === undefined) return undefined;
    const [found] = Array.isArray(kvs) ? kvs : [];
    const { value = '', mod_revision: revision } = isRecord(found) ? found : {};
    if (typeof value !== 'string' || typeof revision !== 'string' || !/^\d+$/.test(revision)) {
      throw new ArbiterError(`etcd answered ${show(JSON.stringify(kvs))} for ${key}; is it etcd 3.4 or newer?`);
    }
    return { value: Buffer.from(value, 'base64').toString('utf8'), revision };
  }

  /**
   * Writes `key` if it was not changed since `revision`; undefined: if it does not exist. False if it was.
   *
   * @throws ArbiterError, and it may have been written
   */
  async replace(key: string, value: string, revision: string | undefined): Promise<boolean> {
    const name = base64(key);
    const compare =
      revision === undefined
        ? { key: name, target: 'CREATE', create_revision: '0', result: 'EQUAL' }
        : { key: name, target: 'MOD', mod_revision: revision, result: 'EQUAL' };
    const answer = await this.#ask('/v3/kv/txn', {
      compare: [compare],
      success: [{ request_put: { key: name, value: base64(value) } }],
    });
    // The gateway leaves out what is false.
    return answer.succeeded === true;
  }

  close(): void {
    this.#closing.abort();
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  /** Asks members in turn, until one answers. */
  #ask(path: string, body: object): Promise<Record<string, unknown>> {
    const { endpoints, turnMs = defaultTurnMs } = this.#options;
    const first = this.#first;
    const failures: string[] = [];
    // One that is down may be configured rightly.
    let areMisconfigured = true;
    let begun = 0;
    let turn: NodeJS.Timeout | undefined;
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        clearTimeout(turn);
        if (begun === endpoints.length) return;
        const index = (first + begun++) % endpoints.length;
        const endpoint = endpoints[index] ?? '';
        turn = setTimeout(begin, turnMs);
        this.#askAs(endpoint, path, body).then(
          (answer) => {
            clearTimeout(turn);
            begun = endpoints.length;
            this.#first = index;
            resolve(answer);
          },
          (error: Error) => {
            failures.push(`${endpoint} ${error.message}`);
            areMisconfigured &&= error instanceof MemberError && error.isMisconfigured;
            if (this.#closing.signal.aborted) {
              clearTimeout(turn);
              reject(new ArbiterError('the arbiter was closed'));
            } else if (failures.length === endpoints.length) {
              clearTimeout(turn);
              const message = `the arbiter etcd does not answer: ${failures.join('; ')}`;
              reject(new ArbiterError(message, { isMisconfigured: areMisconfigured }));
            } else begin();
          },
        );
      };
      begin();
    });
  }

  /** As the user, if there is one; a token that has expired or is outdated is renewed once. */
  async #askAs(endpoint: string, path: string, body: object): Promise<Record<string, unknown>> {
    const { user } = this.#options;
    if (user === undefined) return this.#post(endpoint, path, body);
    this.#token ??= await this.#authenticate(endpoint, user);
    try {
      return await this.#post(endpoint, path, body, this.#token);
    } catch (error) {
      const rejected =
        error instanceof MemberError && (error.grpcCode === unauthenticated || outdatedToken.test(error.message));
      if (!rejected) throw error;
      this.#token = await this.#authenticate(endpoint, user);
      return this.#post(endpoint, path, body, this.#token);
    }
  }

  async #authenticate(endpoint: string, { name, password }: EtcdUser): Promise<string> {
    const { token } = await this.#post(endpoint, '/v3/auth/authenticate', { name, password });
    if (typeof token !== 'string') throw new MemberError('gave no token: is authentication enabled there?');
    return token;
  }

  async #post(endpoint: string, path: string, body: object, token?: string): Promise<Record<string, unknown>> {
    try {
      return await this.#postOnce(endpoint, path, body, token);
    } catch (error) {
      if (!(error instanceof MemberError && error.stale)) throw error;
      return this.#postOnce(endpoint, path, body, token);
    }
  }

  #postOnce(endpoint: string, path: string, body: object, token?: string): Promise<Record<string, unknown>> {
    const url = new URL(path, endpoint);
    const secure = url.protocol === 'https:';
    const text = JSON.stringify(body);
    const { patienceMs, tls } = this.#options;
    const options: https.RequestOptions = {
      method: 'POST',
      agent: secure ? this.#agents['https:'] : this.#agents['http:'],
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
        ...(token === undefined ? {} : { authorization: token }),
      },
      ...(secure ? tls : {}),
    };
    return new Promise((resolve, reject) => {
      const request = (secure ? https : http).request(url, options);
      const fail = (message: string): void => {
        reject(new MemberError(message));
        request.destroy();
      };
      // Of the whole exchange, not of silence: a server that sends a byte a second must not hold a claim up.
      const patience = setTimeout(() => fail(`did not answer within ${patienceMs} ms`), patienceMs);
      const closing = (): void => fail('was closed');
      this.#closing.signal.addEventListener('abort', closing, { once: true });
      request.once('close', () => {
        clearTimeout(patience);
        this.#closing.signal.removeEventListener('abort', closing);
        // Has no effect if it was settled before.
        reject(new MemberError('closed the connection without an answer'));
      });
      request.once('error', (error: NodeJS.ErrnoException) =>
        reject(unreachable(error, url.protocol, request.reusedSocket)),
      );
      request.once('response', (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > mostAnswerBytes) fail(`sent more than ${mostAnswerBytes} bytes; is it etcd?`);
          else chunks.push(chunk);
        });
        response.once('end', () => {
          const answer = Buffer.concat(chunks).toString('utf8');
          try {
            resolve(readAnswer(response.statusCode ?? 0, answer));
          } catch (error) {
            reject(error);
          }
        });
        response.once('error', (error) => reject(new MemberError(`broke off its answer (${error.message})`)));
      });
      request.end(text);
    });
  }
}

/** Why a connection failed, with what would help. */
function unreachable({ code, message }: NodeJS.ErrnoException, protocol: string, stale: boolean): MemberError {
  const found = remedyFor(code, protocol);
  return new MemberError(`cannot be reached (${code ?? message})${found === undefined ? '' : `: ${found.remedy}`}`, {
    stale,
    isMisconfigured: found?.isMisconfigured ?? false,
  });
}

/** The object in a good answer. @throws MemberError for any other one */
function readAnswer(status: number, text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new MemberError(`answered ${status} and ${show(text)}, which is not JSON; is it etcd's client port?`);
  }
  if (status === 200 && isRecord(parsed)) return parsed;
  const { message, error, code } = isRecord(parsed) ? parsed : {};
  const reason = [message, error].find((value) => typeof value === 'string') ?? text;
  throw new MemberError(`answered ${status}: ${show(String(reason))}`, {
    grpcCode: typeof code === 'number' ? code : undefined,
    isMisconfigured: wrongPassword.test(String(reason)),
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}

/** Text of a stranger's for a message: short, and nothing in it that a terminal would obey. */
function show(text: string): string {
  const printable = text.replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
  return `"${printable.length > shownCharacters ? `${printable.slice(0, shownCharacters)}...` : printable}"`;
}

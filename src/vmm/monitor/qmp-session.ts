import * as v from 'valibot';
import type { JsonPiece } from './json-splitter.ts';
import type { Monitor } from './monitor.ts';
import { type Command, type CommandTable, command } from './qmp-command.ts';
import { commands } from './qmp-commands.ts';
import { type Json, QmpError } from './qmp-protocol.ts';

/** One client's conversation. Until it has negotiated it can do nothing else, and hears of no event. */
export class QmpSession {
  readonly #monitor: Monitor;
  readonly #send: (message: Json) => void;
  readonly #commands: CommandTable;
  #unsubscribe: (() => void) | undefined;
  /** What the last command does once its answer was sent. */
  #effect: (() => void) | undefined;

  /** @param send takes the events for this client */
  constructor(monitor: Monitor, send: (message: Json) => void, table: CommandTable = commands) {
    this.#monitor = monitor;
    this.#send = send;
    this.#commands = table;
  }

  get negotiated(): boolean {
    return this.#unsubscribe !== undefined;
  }

  /**
   * The answer to what the client sent, which must have come before the next question is asked. When it was sent,
   * {@link answered} is to be called. Never throws.
   */
  answer(piece: JsonPiece): Json | Promise<Json> {
    let id: Json = {};
    try {
      const request = parse(piece);
      if ('id' in request) id = { id: request.id };
      const { name, given } = check(request);
      const result = this.#find(name)(this.#monitor, given, (effect) => {
        this.#effect = effect;
      });
      if (!(result instanceof Promise)) return { return: result, ...id };
      return result.then(
        (value) => ({ return: value, ...id }),
        (error: unknown) => failure(error, id),
      );
    } catch (error) {
      return failure(error, id);
    }
  }

  /** The answer to the last question was sent. */
  answered(): void {
    const effect = this.#effect;
    this.#effect = undefined;
    effect?.();
  }

  /** No events from here on. */
  close(): void {
    this.#unsubscribe?.();
  }

  #find(name: string): Command {
    if (!this.negotiated) {
      if (name === 'qmp_capabilities') return this.#negotiate;
      throw new QmpError('CommandNotFound', "Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (name === 'qmp_capabilities') {
      throw new QmpError('CommandNotFound', 'Capabilities negotiation is already complete, command ignored');
    }
    const found = Object.hasOwn(this.#commands, name) ? this.#commands[name] : undefined;
    if (found === undefined) throw new QmpError('CommandNotFound', `The command ${name} has not been found`);
    return found;
  }

  readonly #negotiate: Command = command({ enable: v.optional(v.array(v.picklist(['oob']))) }, (monitor, given) => {
    const [wanted] = given.enable ?? [];
    if (wanted !== undefined) throw new QmpError('GenericError', `Capability ${wanted} is not available`);
    this.#unsubscribe = monitor.subscribe(this.#send);
    return {};
  });
}

function parse(piece: JsonPiece): Json {
  if ('error' in piece) throw new QmpError('GenericError', piece.error);
  let value: unknown;
  try {
    value = JSON.parse(piece.text);
  } catch {
    throw new QmpError('GenericError', 'JSON parse error');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new QmpError('GenericError', 'QMP input must be a JSON object');
  }
  return value as Json;
}

/** `exec-oob` would need a capability that is not offered, so it is as unknown as any other member. */
function check(request: Json): { name: string; given: Json } {
  const { execute: name, arguments: given = {} } = request;
  for (const member of Object.keys(request)) {
    if (!['execute', 'arguments', 'id'].includes(member)) {
      throw new QmpError('GenericError', `QMP input member '${member}' is unexpected`);
    }
  }
  if (name === undefined) throw new QmpError('GenericError', "QMP input lacks member 'execute'");
  if (typeof name !== 'string') throw new QmpError('GenericError', "QMP input member 'execute' must be a string");
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new QmpError('GenericError', "QMP input member 'arguments' must be an object");
  }
  return { name, given: given as Json };
}

function failure(error: unknown, id: Json): Json {
  const errorClass = error instanceof QmpError ? error.errorClass : 'GenericError';
  return { error: { class: errorClass, desc: error instanceof Error ? error.message : String(error) }, ...id };
}

import type { Readable, Writable } from 'node:stream';
import { JsonSplitter } from '../../src/vmm/monitor/json-splitter.ts';

/** The other side of a monitor. */
export interface Monitored {
  readonly output: Readable;
  readonly input: Writable;
}

/** A monitor, and what it says. */
export class Transcript {
  readonly #input: Writable;
  readonly #messages: unknown[] = [];
  #heard = (): void => {};
  #ended = false;
  #lines = 0;

  constructor({ output, input }: Monitored) {
    this.#input = input;
    const splitter = new JsonSplitter(1 << 24);
    output.on('data', (chunk: Buffer) => {
      splitter.push(chunk);
      for (let piece = splitter.next(); piece !== undefined; piece = splitter.next()) {
        this.#messages.push('text' in piece ? JSON.parse(piece.text) : piece);
      }
      this.#heard();
    });
    output.on('close', () => {
      this.#ended = true;
      this.#heard();
    });
  }

  async greeting(): Promise<unknown[]> {
    await this.#until(() => this.#messages.length > 0);
    return this.#messages.splice(0).map(withoutCapabilities);
  }

  /** What comes after that line, told by an id that follows it. */
  async say(line: string): Promise<unknown[]> {
    const end = `end ${this.#lines++}`;
    // The empty line is where QEMU begins anew after a line that it could make nothing of.
    this.#input.write(`${line}\n\n{"execute":"","id":"${end}"}\n`);
    const isEnd = (message: unknown): boolean => (message as { id?: unknown }).id === end;
    await this.#until(() => this.#messages.some(isEnd));
    const said = this.#messages.splice(0, this.#messages.findIndex(isEnd) + 1);
    said.pop();
    return said;
  }

  /** What comes after that line until the monitor ends. */
  async sayLast(line: string): Promise<unknown[]> {
    this.#input.write(`${line}\n`);
    await this.#until(() => false);
    return this.#messages.splice(0);
  }

  /** Waits for that message; what has been said until then, it included. */
  async until(isIt: (message: unknown) => boolean): Promise<unknown[]> {
    await this.#until(() => this.#messages.some(isIt));
    return this.#messages.splice(0, this.#messages.findIndex(isIt) + 1);
  }

  async #until(done: () => boolean): Promise<void> {
    while (!this.#ended && !done()) {
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }
}

/** What a monitor says to each line of a script, and to `last` at its end. */
export async function transcript(
  monitored: Monitored,
  lines: readonly string[],
  last: string,
): Promise<{ line: string; said: unknown[] }[]> {
  const heard = new Transcript(monitored);
  const all = [{ line: '(greeting)', said: await heard.greeting() }];
  for (const line of lines) all.push({ line, said: await heard.say(line) });
  all.push({ line: last, said: await heard.sayLast(last) });
  return all;
}

/** A value's shape: members and types; of a list the shapes in it, each once. */
function shape(value: unknown): unknown {
  if (Array.isArray(value)) return [...new Set(value.map((item) => JSON.stringify(shape(item))))].sort();
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value;
  const members = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return Object.fromEntries(members.map(([name, item]) => [name, shape(item)]));
}

/** The shape of what is said: ids, events and classes of errors are kept as they are. */
export function shapeOfMessage(message: unknown): unknown {
  const { id, error, event, data, ...rest } = message as Record<string, unknown>;
  return {
    ...(shape(rest) as object),
    ...(id === undefined ? {} : { id }),
    ...(error === undefined
      ? {}
      : { error: { ...(shape(error) as object), class: (error as { class: string }).class } }),
    ...(event === undefined ? {} : { event }),
    ...(data === undefined ? {} : { data }),
  };
}

/** Which capabilities are offered is each one's own: QEMU has out-of-band execution, we do not. */
function withoutCapabilities(greeting: unknown): unknown {
  const { QMP } = greeting as { QMP: { capabilities: unknown } };
  return { QMP: { ...QMP, capabilities: Array.isArray(QMP.capabilities) ? [] : QMP.capabilities } };
}

/** Complaints about the same garbage count once: how many there are depends on where one begins anew in it. */
export function shapesOf(said: readonly unknown[]): unknown[] {
  const shapes = said.map(shapeOfMessage);
  return shapes.filter((item, index) => {
    const same = index > 0 && JSON.stringify(item) === JSON.stringify(shapes[index - 1]);
    return !same || !('error' in (item as object)) || 'id' in (item as object);
  });
}

/** Commands that QEMU 7.2 answers behind their events, and we before (docs/decisions.md, Monitor). */
export const answeredFirst = /"(system_powerdown|system_reset|quit)"/;

/** The same messages, answers first. */
export function answersFirst(said: readonly unknown[]): unknown[] {
  const isEvent = (message: unknown): boolean => 'event' in (message as object);
  return [...said.filter((message) => !isEvent(message)), ...said.filter(isEvent)];
}

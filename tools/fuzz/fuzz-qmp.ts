import { JsonSplitter } from '../../src/vmm/monitor/json-splitter.ts';
import { Monitor } from '../../src/vmm/monitor/monitor.ts';
import type { Json } from '../../src/vmm/monitor/qmp-protocol.ts';
import { QmpSession } from '../../src/vmm/monitor/qmp-session.ts';
import { FakeMachine } from '../../test/support/fake-machine.ts';
import { randomNumbers } from '../../test/support/random.ts';
import type { Coverage } from './coverage.ts';
import { FuzzFailure } from './fuzz-failure.ts';
import type { Random } from './fuzz-target.ts';

export interface QmpFuzzOptions {
  /** Of the first case; each further one has the next number. */
  readonly seed: number;
  readonly runs: number;
  readonly coverage: Coverage;
  readonly log?: ((line: string) => void) | undefined;
  readonly started?: (seed: number) => void;
  /** What is attacked; the monitor's own, unless a test says otherwise. */
  readonly makeSplitter?: (limitBytes: number) => Pick<JsonSplitter, 'push' | 'next' | 'heldBytes' | 'overflowed'>;
}

/** Small, so that cases reach it. */
const limitBytes = 600;
const mostParts = 12;

const commandNames = [
  ...['qmp_capabilities', 'query-status', 'query-version', 'query-commands', 'query-name', 'query-cpus-fast'],
  ...['query-block', 'x-query-machine', 'stop', 'cont', 'system_powerdown', 'fly', 'constructor', '__proto__', ''],
];

/** What a case is made of, each kind of which must have been tried at the end. */
export const qmpParts = ['request', 'mutated', 'cut', 'garbage', 'brackets', 'large', 'reset byte'] as const;
/** What must have come of it. */
export const qmpOutcomes = ['return', 'GenericError', 'CommandNotFound', 'event', 'overflow'] as const;

/** Bytes of hostile clients against the parser and the session behind it. @throws FuzzFailure at the first case that fails */
export function fuzzQmp(options: QmpFuzzOptions): void {
  const { stackTraceLimit } = Error;
  // Most of the time would go into traces of errors that are expected.
  Error.stackTraceLimit = 0;
  try {
    for (let seed = options.seed; seed < options.seed + options.runs; seed++) {
      options.started?.(seed);
      try {
        runCase(randomNumbers(seed), options);
      } catch (error) {
        throw new FuzzFailure('qmp', seed, `qmp --seed ${seed} --runs 1`, error);
      }
    }
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

function runCase(random: Random, options: QmpFuzzOptions): void {
  const parts: Buffer[] = [];
  for (let count = 1 + random(mostParts); count > 0; count--) {
    const kind = qmpParts[random(qmpParts.length)] as (typeof qmpParts)[number];
    options.coverage.count(`part ${kind}`);
    const part = makePart(random, kind);
    options.log?.(`${kind}: ${JSON.stringify(part.toString('latin1'))}`);
    parts.push(part);
  }
  const bytes = Buffer.concat(parts);
  const whole = converse(bytes, () => bytes.length, options);
  const pieces = converse(bytes, () => 1 + random(40), options);
  if (JSON.stringify(whole.answers) !== JSON.stringify(pieces.answers)) {
    throw new Error('the answers depend on how the bytes are cut');
  }
  for (const answer of whole.answers) options.coverage.count(`outcome ${outcomeOf(answer)}`);
  if (whole.overflowed) options.coverage.count('outcome overflow');
}

/** Lets a client of a new machine say `bytes`, in chunks of such sizes; then asks whether the machine is still there. */
function converse(
  bytes: Buffer,
  chunkBytes: () => number,
  { makeSplitter = (limit) => new JsonSplitter(limit) }: QmpFuzzOptions,
): { answers: Json[]; overflowed: boolean } {
  const answers: Json[] = [];
  const monitor = new Monitor(new FakeMachine(), { clock: () => 0 });
  const session = new QmpSession(monitor, (event) => answers.push(event));
  const splitter = makeSplitter(limitBytes);
  const say = (chunk: Uint8Array): void => {
    splitter.push(chunk);
    for (let piece = splitter.next(); piece !== undefined; piece = splitter.next()) {
      const answer = session.answer(piece);
      if (answer instanceof Promise) throw new Error('an answer comes late');
      answers.push(checked(answer));
    }
    if (splitter.heldBytes > limitBytes) throw new Error(`${splitter.heldBytes} bytes are held`);
  };
  for (let at = 0, size = 0; at < bytes.length; at += size) {
    size = chunkBytes();
    say(bytes.subarray(at, at + size));
  }
  const said = answers.slice();
  if (said.length > 2 * bytes.length + 1) throw new Error(`${said.length} answers to ${bytes.length} bytes`);
  // A byte that is no text, and the end of a line: whatever was begun is over.
  if (!splitter.overflowed) {
    say(Buffer.of(0xff, 0x0a));
    answers.length = 0;
    say(Buffer.from('{"execute":"qmp_capabilities"}'));
    say(Buffer.from('{"execute":"query-status","id":"still there"}'));
    const last = answers.at(-1);
    if (answers.length !== 2 || last?.id !== 'still there' || !('return' in last)) {
      throw new Error(`a good client gets ${JSON.stringify(answers)}`);
    }
  }
  return { answers: said, overflowed: splitter.overflowed };
}

/** An answer, if it is one. */
function checked(answer: Json): Json {
  const { return: value, error } = JSON.parse(JSON.stringify(answer)) as Json;
  const isResult = typeof value === 'object' && value !== null && error === undefined;
  const isError = value === undefined && typeof (error as Json | undefined)?.desc === 'string';
  if (!isResult && !isError) throw new Error(`${JSON.stringify(answer)} is no answer`);
  return answer;
}

function outcomeOf(answer: Json): string {
  if ('event' in answer) return 'event';
  return 'error' in answer ? String((answer.error as Json).class) : 'return';
}

function makePart(random: Random, kind: (typeof qmpParts)[number]): Buffer {
  switch (kind) {
    case 'request':
      return Buffer.from(request(random) + ['\n', '\r\n', '', ' ', '\n\n'][random(5)]);
    case 'mutated': {
      const bytes = Buffer.from(`${request(random)}\n`);
      for (let count = 1 + random(3); count > 0; count--) bytes[random(bytes.length)] = random(256);
      return bytes;
    }
    case 'cut': {
      const bytes = Buffer.from(`${request(random)}\n`);
      const [from, to] = [random(bytes.length), random(bytes.length)];
      return Buffer.concat([bytes.subarray(0, Math.min(from, to)), bytes.subarray(Math.max(from, to))]);
    }
    case 'garbage':
      return Buffer.from(Array.from({ length: random(30) }, () => random(256)));
    case 'brackets':
      return Buffer.from(Array.from({ length: random(60) }, () => '{}[]":,\\ \n'.charCodeAt(random(10))));
    case 'large':
      return Buffer.from(`${['"', '[', 'x', '{"a":"'][random(4)]}${'x1, '.repeat(random(200))}`);
    case 'reset byte':
      return Buffer.from([0xfe + random(2)]);
    default:
      return kind satisfies never;
  }
}

function request(random: Random): string {
  const message: Record<string, unknown> = { execute: commandNames[random(commandNames.length)] };
  if (random(2) === 0) message.id = value(random, 3);
  if (random(4) === 0) message.arguments = random(2) === 0 ? {} : value(random, 3);
  if (random(12) === 0) message[['exec-oob', 'control', '__proto__', 'x'][random(4)] as string] = value(random, 2);
  return JSON.stringify(message);
}

/** Any JSON value, of a depth. */
function value(random: Random, depth: number): unknown {
  switch (random(depth > 0 ? 8 : 6)) {
    case 0:
      return null;
    case 1:
      return random(2) === 0;
    case 2:
      return random(1 << 30) - (1 << 29);
    case 3:
      return random(1000) / 7;
    case 4:
      return ['', 'text', '}"{\\', 'ä€😀', '\u0000\u001f'][random(5)];
    case 5:
      return ['oob'];
    case 6:
      return Array.from({ length: random(4) }, () => value(random, depth - 1));
    default:
      return Object.fromEntries(
        Array.from({ length: random(4) }, () => [
          ['enable', 'a', 'x', 'toString'][random(4)],
          value(random, depth - 1),
        ]),
      );
  }
}

/** What a long run must have seen, and did not. */
export function notCoveredByQmp(coverage: Coverage): string[] {
  return [...qmpParts.map((part) => `part ${part}`), ...qmpOutcomes.map((outcome) => `outcome ${outcome}`)].filter(
    (name) => coverage.of(name) === 0,
  );
}

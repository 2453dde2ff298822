import { decodeState } from '../../../src/colo/machine/checkpoint-state.ts';
import { FrameReader } from '../../../src/colo/protocol/frame-reader.ts';
import { encodeFrame } from '../../../src/colo/protocol/message-codec.ts';
import { messageTable, type StreamName, streams } from '../../../src/colo/protocol/message-table.ts';
import type { Message } from '../../../src/colo/protocol/messages.ts';
import { ProtocolError } from '../../../src/colo/protocol/protocol-error.ts';
import { VmStateError } from '../../../src/devices/vm-state-error.ts';
import { everyMessage } from '../../../test/unit/colo/protocol/messages.ts';
import type { Random } from '../fuzz-target.ts';
import { type Piece, pick, piece, spoilt, ways } from './spoiler.ts';
import type { CaseWatcher } from './standby-case.ts';

/**
 * Frames that were spoilt, cut anywhere: the reader makes the same of them however they come, refuses in one way only, and what
 * it takes is a frame that encodes to the same bytes again.
 */
export function framesCase(state: Uint8Array, random: Random, watcher: CaseWatcher): void {
  const role = random(2) === 0 ? 'primary' : 'secondary';
  const sayable = everyMessage.filter(({ kind }) => (messageTable[kind].from ?? role) === role);
  const anything = (): Piece => piece(role, random(5), pick(sayable, random));
  const pieces: Piece[] = [];
  for (let count = 1 + random(6); count > 0; count--) {
    const way = pick(ways, random);
    watcher.count(`way ${way}`);
    pieces.push(...(random(3) === 0 ? spoilt(way, anything(), anything(), anything, random) : [anything()]));
  }
  for (const stream of streams) {
    const bytes = Buffer.concat(pieces.filter((each) => each.stream === stream).map((each) => each.bytes));
    if (watcher.isLogging) watcher.log(`  ${stream}: ${bytes.toString('hex', 0, 1000)}`);
    const whole = taken(stream, role, bytes, () => bytes.length);
    const cut = taken(stream, role, bytes, () => 1 + random(100));
    if (whole !== cut) throw new Error(`the frames depend on how the bytes are cut:\n${whole}\n${cut}`);
  }
  if (random(8) === 0) spoiltState(state, random, watcher);
}

/** What a reader makes of it, in words. */
function taken(stream: StreamName, role: 'primary' | 'secondary', bytes: Buffer, size: () => number): string {
  const told: string[] = [];
  const reader = new FrameReader(stream, role, (frame) => {
    const again = encodeFrame(frame);
    // JSON has many spellings.
    const same =
      hasText(frame.message) ||
      bytes.length === 0 ||
      bytes.includes(Buffer.from(again.buffer, again.byteOffset, again.length));
    if (!same) throw new Error(`${frame.message.kind} is another one when it is encoded again`);
    told.push(`${frame.message.kind} ${again.length} ${frame.term}`);
  });
  try {
    for (let at = 0, count = 0; at < bytes.length; at += count) {
      count = size();
      reader.push(bytes.subarray(at, at + count));
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    if (/\n/.test(error.message)) throw new Error(`not one line: ${error.message}`);
    told.push(error.message);
    // Nothing more is taken.
    const before = told.length;
    reader.push(encodeFrame({ role, term: 1 as never, message: { kind: 'ended' } }));
    if (told.length !== before) throw new Error('a reader goes on after an error');
  }
  return told.join('\n');
}

function hasText({ kind }: Message): boolean {
  const { rest } = messageTable[kind];
  return rest !== undefined && rest !== 'data';
}

/** Device state that a peer has made up. */
function spoiltState(state: Uint8Array, random: Random, watcher: CaseWatcher): void {
  const bytes = Uint8Array.from(state);
  for (let count = 1 + random(4); count > 0; count--)
    bytes[random(2) === 0 ? random(bytes.length) : random(200)] = random(256);
  try {
    decodeState(random(3) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes);
    watcher.count('state taken');
  } catch (error) {
    if (!(error instanceof VmStateError)) throw error;
    watcher.count('state refused');
  }
}

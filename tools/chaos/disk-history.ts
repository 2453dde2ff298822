import { readFileSync } from 'node:fs';
import type { Answer } from './guest/service.ts';
import { decodeRecord, sectorBytes } from './guest/service.ts';

/**
 * Holds a disk of the small guest against what its clients were told: the records of all answers stand there, one after another
 * without a gap, and nothing behind them. Everything asked must have been answered.
 *
 * @param disk its file, or what is on it
 * @param told by counter
 * @param before what was told by the guest before it began anew, whose records may stand behind the new ones
 * @returns what is wrong, up to a few lines
 */
export function compareDisk(
  disk: string | Buffer,
  told: ReadonlyMap<bigint, Answer>,
  before: ReadonlyMap<bigint, Answer> = new Map(),
): string[] {
  const bytes = typeof disk === 'string' ? readFileSync(disk) : disk;
  const sectors = BigInt(bytes.length / sectorBytes);
  const last = BigInt(told.size);
  // Older ones were written over.
  const first = last > sectors ? last - sectors + 1n : 1n;
  const wrong: string[] = [];
  for (let counter = first; counter <= last && wrong.length < 10; counter++) {
    const answer = told.get(counter);
    const record = recordAt(bytes, counter % sectors);
    if (answer === undefined) wrong.push(`nobody was told ${counter}, though ${last} numbers were`);
    else if (record === undefined) wrong.push(`the record of ${inWords(answer)} is not on the disk`);
    else if (!same(record, answer)) wrong.push(`the record of ${inWords(answer)} is one of ${inWords(record)}`);
  }
  const behind = recordAt(bytes, (last + 1n) % sectors);
  const old = behind === undefined ? undefined : before.get(behind.counter);
  if (behind !== undefined && behind.counter > last && !(old !== undefined && same(old, behind)))
    wrong.push(`a record of ${inWords(behind)}, which nobody was told`);
  return wrong;
}

function recordAt(disk: Buffer, sector: bigint): Answer | undefined {
  const at = Number(sector) * sectorBytes;
  return decodeRecord(disk.subarray(at, at + sectorBytes));
}

function same(one: Answer, other: Answer): boolean {
  return one.client === other.client && one.number === other.number && one.counter === other.counter;
}

function inWords({ client, number, counter }: Answer): string {
  return `${counter} (request ${number} of client ${client})`;
}

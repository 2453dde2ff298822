import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { compareDisk } from '../../../../tools/chaos/disk-history.ts';
import { type Answer, recordAt, recordMagic, sectorBytes } from '../../../../tools/chaos/guest/service.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

const sectors = 16;

/** Answers 1 to `count`, by counter. */
function toldUpTo(count: number): Map<bigint, Answer> {
  return new Map(
    Array.from({ length: count }, (_, index) => {
      const counter = BigInt(index + 1);
      return [counter, { client: 1n, number: counter + 100n, counter }];
    }),
  );
}

function diskWith(answers: Iterable<Answer>, spoil: (disk: Buffer) => void = () => {}): Buffer {
  const disk = Buffer.alloc(sectors * sectorBytes);
  for (const { client, number, counter } of answers) {
    const at = (Number(counter) % sectors) * sectorBytes;
    disk.writeUInt32LE(recordMagic, at + recordAt.magic);
    disk.writeBigUInt64LE(client, at + recordAt.client);
    disk.writeBigUInt64LE(number, at + recordAt.number);
    disk.writeBigUInt64LE(counter, at + recordAt.counter);
    disk.writeBigUInt64LE(counter, at + recordAt.counterAgain);
  }
  spoil(disk);
  return disk;
}

function wrongWith(
  t: Parameters<typeof temporaryFolder>[0],
  disk: Buffer,
  told: Map<bigint, Answer>,
  before?: Map<bigint, Answer>,
): string[] {
  const path = join(temporaryFolder(t), 'disk');
  writeFileSync(path, disk);
  return compareDisk(path, told, before);
}

test('a disk with all that was told, once round and more, is right', async (t) => {
  for (const count of [0, 1, 15, 16, 17, 40]) {
    const told = toldUpTo(count);
    t.strictSame(wrongWith(t, diskWith(told.values()), told), [], `${count} answers`);
  }
});

test('a record that is not there, or torn, is noticed', async (t) => {
  const told = toldUpTo(8);
  const without = [...told.values()].filter(({ counter }) => counter !== 5n);
  t.match(wrongWith(t, diskWith(without), told), [/the record of 5 .* is not on the disk/]);
  const torn = diskWith(told.values(), (disk) => disk.writeUInt8(0, 3 * sectorBytes + recordAt.counterAgain));
  t.match(wrongWith(t, torn, told), [/the record of 3 .* is not on the disk/]);
});

test('a record of somebody else, or an older one, is noticed', async (t) => {
  const told = toldUpTo(20);
  const other = [...told.values()].map((answer) => (answer.counter === 7n ? { ...answer, client: 2n } : answer));
  t.match(wrongWith(t, diskWith(other), told), [/record of 7 .* is one of 7 \(request 107 of client 2\)/]);
  const older = [...told.values()].filter(({ counter }) => counter !== 20n);
  t.match(wrongWith(t, diskWith(older), told), [/record of 20 .* is one of 4 /]);
});

test('a number that nobody was told is noticed, on the disk and between others', async (t) => {
  const told = toldUpTo(8);
  t.match(wrongWith(t, diskWith(toldUpTo(9).values()), told), [/a record of 9 .*which nobody was told/]);
  const gap = toldUpTo(9);
  gap.delete(4n);
  t.match(wrongWith(t, diskWith(toldUpTo(9).values()), gap), [/nobody was told 4/, /9/]);
});

test('records of a guest that began anew may stand behind the new ones, and nowhere else', async (t) => {
  const before = toldUpTo(9);
  const told = new Map([...toldUpTo(4)].map(([counter, answer]) => [counter, { ...answer, client: 2n }]));
  const all = [...before.values(), ...told.values()];
  t.strictSame(wrongWith(t, diskWith(all), told, before), []);
  t.match(wrongWith(t, diskWith(all), told), [/a record of 5 .*which nobody was told/]);
  t.match(wrongWith(t, diskWith(before.values()), told, before), [
    /record of 1 .* is one of 1 .*client 1/,
    /2/,
    /3/,
    /4/,
  ]);
});

import { test } from 'tap';
import { KiB, MiB } from '../../../src/memory/address.ts';
import {
  acpiTablesAddress,
  bootStackAddress,
  commandLineAddress,
  commandLineMaxBytes,
  conventionalMemoryEnd,
  gdtAddress,
  generationIdAddress,
  highMemoryStart,
  minimumRamBytes,
  pageTableAddress,
  pvhStartInfoAddress,
  resetVectorAddress,
  rsdpAddress,
  zeroPageAddress,
} from '../../../src/memory/layout.ts';

const page = 4 * KiB;

test('what firmware leaves below 1 MiB lies in order, each behind the room of the one before', async (t) => {
  const places: readonly (readonly [name: string, start: number, bytes: number])[] = [
    ['GDT', gdtAddress, 4 * 8],
    ['PVH start info', pvhStartInfoAddress, page],
    ['zero page', zeroPageAddress, page],
    ['page tables', pageTableAddress, 3 * page],
    ['command line', commandLineAddress, commandLineMaxBytes],
    ['end of conventional memory', conventionalMemoryEnd, 0],
    ['ACPI tables', acpiTablesAddress, page],
    ['RSDP', rsdpAddress, 36],
    ['VM generation id', generationIdAddress, 16],
    ['reset vector', resetVectorAddress, 16],
    ['high memory', highMemoryStart, 0],
  ];
  for (const [index, [name, start, bytes]] of places.entries()) {
    const next = places[index + 1];
    if (next !== undefined) t.ok(start + bytes <= next[1], `${name} ends before ${next[0]}`);
  }
  t.ok(
    bootStackAddress > zeroPageAddress + page && bootStackAddress < pageTableAddress,
    'the stack has room downwards',
  );
});

test('the longest command line that is promised has its room', async (t) => {
  t.equal(commandLineMaxBytes, 65536);
});

test('the smallest machine has RAM behind the first MiB for a kernel', async (t) => {
  t.equal(minimumRamBytes, 2 * MiB);
  t.ok(minimumRamBytes > highMemoryStart);
});

import { mmioRegisters } from '../../src/devices/virtio/mmio-registers.ts';
import type { Coverage } from './coverage.ts';
import type { FuzzTarget } from './fuzz-target.ts';

const acts = [
  'start',
  'chain',
  'kick',
  'kick by register',
  'storm',
  'register',
  'config',
  'scribble',
  'meddle',
  'poll',
  'pause',
  'resume',
] as const;

/** What a queue can find wrong (see Virtqueue), each of which an enemy must have done at least once. */
const faults: readonly RegExp[] = [
  /queue N: a queue cannot have N entries/,
  /queue N: N entries are more than N/,
  /queue N: the descriptor table .* is not in RAM/,
  /queue N: the avail ring .* is not in RAM/,
  /queue N: the used ring .* is not in RAM/,
  /queue N: the descriptor table .* is not aligned/,
  /queue N: the avail ring .* is not aligned/,
  /queue N: the used ring .* is not aligned/,
  /the avail index is N, too far from N/,
  /the avail ring names descriptor N of N/,
  /a descriptor names N of N as the next/,
  /a chain loops, or is longer than the queue/,
  /a readable buffer follows a writable one/,
  /^a buffer of N bytes at N is not in RAM/,
  /an indirect table holds an indirect descriptor/,
  /an indirect descriptor was not agreed on/,
  /a descriptor follows an indirect one/,
  /an indirect table cannot have N bytes/,
  /an indirect table of N bytes at N is not in RAM/,
];

/** What a run should have done and did not. */
export function notCovered(target: FuzzTarget, coverage: Coverage): string[] {
  const missing: string[] = [];
  const want = (name: string): void => {
    if (coverage.of(name) === 0) missing.push(name);
  };
  for (const { name } of mmioRegisters) {
    want(`read ${name}`);
    want(`write ${name}`);
  }
  for (const act of acts) want(`act ${act}`);
  for (const kind of target.kinds) want(`request ${kind}`);
  want('interrupt');
  const found = coverage.names('fault ');
  for (const fault of faults) if (!found.some((name) => fault.test(name))) missing.push(`fault ${fault.source}`);
  return missing;
}

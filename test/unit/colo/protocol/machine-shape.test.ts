import { test } from 'tap';
import * as v from 'valibot';
import { type MachineShape, machineShapeSchema } from '../../../../src/colo/protocol/machine-shape.ts';
import { shape } from './messages.ts';

const taken = (value: unknown): boolean => v.safeParse(machineShapeSchema, value).success;
const words = (length: number): string => 'x'.repeat(length);
const many = <T>(count: number, one: T): T[] => Array.from({ length: count }, () => one);
const [disk] = shape.disks;
const [card] = shape.cards;

test('a shape is taken as it is, with what a side may leave out and without it', async (t) => {
  const told: MachineShape = {
    ...shape,
    disks: [{ id: 'root', path: 'web.img', sizeBytes: 0, readOnly: true, isDevice: true, sectorBytes: 512 }],
    cards: [{ tap: 'tap0' }, { tap: 'tap1', mac: '02:00:00:00:00:01', mtu: 1500, offload: true }],
    rng: 'none',
  };
  for (const one of [shape, told, { ...shape, rng: 'seed', disks: [], cards: [] }]) {
    t.strictSame(v.parse(machineShapeSchema, one), one);
  }
});

test('as much is taken as the longest that may be', async (t) => {
  t.ok(taken({ ...shape, cpuVendor: words(12), cpuFeatures: many(1024, words(64)) }));
  t.ok(taken({ ...shape, disks: many(256, { ...disk, id: words(4096), path: words(4096) }) }));
  t.ok(taken({ ...shape, cards: many(256, { ...card, tap: words(4096), mac: words(4096) }) }));
});

for (const [what, change] of [
  ['a processor count below 0', { cpus: -1 }],
  ['half a processor', { cpus: 0.5 }],
  ['memory that is no number', { memoryBytes: '1' }],
  ['a long vendor', { cpuVendor: words(13) }],
  ['a vendor that is no text', { cpuVendor: 7 }],
  ['registers of less than no bytes', { xsaveBytes: -1 }],
  ['too many features', { cpuFeatures: many(1025, 'x') }],
  ['a long feature', { cpuFeatures: [words(65)] }],
  ['a feature that is no text', { cpuFeatures: [1] }],
  ['a TSC that runs backwards', { tscKhz: -1 }],
  ['scaling that is neither yes nor no', { tscScaling: 1 }],
  ['too many disks', { disks: many(257, disk) }],
  ['a disk with a long name', { disks: [{ ...disk, id: words(4097) }] }],
  ['a disk with a long path', { disks: [{ ...disk, path: words(4097) }] }],
  ['a disk without a size', { disks: [{ ...disk, sizeBytes: undefined }] }],
  ['a disk that may be written or not', { disks: [{ ...disk, readOnly: 'no' }] }],
  ['a disk of half sectors', { disks: [{ ...disk, sectorBytes: 0.5 }] }],
  ['a disk with more to it', { disks: [{ ...disk, more: 1 }] }],
  ['too many cards', { cards: many(257, card) }],
  ['a card without a TAP', { cards: [{}] }],
  ['a card with a long address', { cards: [{ ...card, mac: words(4097) }] }],
  ['a card with a negative MTU', { cards: [{ ...card, mtu: -1 }] }],
  ['a card that offloads perhaps', { cards: [{ ...card, offload: 1 }] }],
  ['a card with more to it', { cards: [{ ...card, more: 1 }] }],
  ['entropy from elsewhere', { rng: 'dice' }],
  ['more than a shape has', { more: 1 }],
] as const) {
  test(`refuses ${what}`, async (t) => {
    t.equal(taken({ ...shape, ...change }), false);
  });
}

test('refuses a shape without one of its fields', async (t) => {
  for (const name of Object.keys(shape)) t.equal(taken({ ...shape, [name]: undefined }), false, name);
});

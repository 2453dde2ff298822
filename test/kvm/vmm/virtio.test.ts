import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { Overlay } from '../../../src/block/overlay.ts';
import { RawFile } from '../../../src/block/raw-file.ts';
import { blockFeature } from '../../../src/devices/block/block-shape.ts';
import { SeededRandom } from '../../../src/devices/rng/seeded-random.ts';
import { viewMemory } from '../../../src/host/libc/memory.ts';
import { AnonymousMapping } from '../../../src/host/mappings/mapping.ts';
import { residentMemory } from '../../../src/host/mappings/resident-memory.ts';
import { gpa, MiB } from '../../../src/memory/address.ts';
import type { Machine } from '../../../src/vmm/machine/machine.ts';
import type { DevicesConfig } from '../../../src/vmm/machine/machine-devices.ts';
import { attacking } from '../../support/attacking-guest.ts';
import { DiskRig } from '../../support/disk-rig.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, forAWhile, takeOutput, until } from '../../support/machines.ts';
import { freeName, noTaps } from '../../support/taps.ts';
import { hammered, hammeredPages, hammering, printingEntropy, writingDisk } from '../../support/virtio-guests.ts';
import { temporaryFolder } from '../../support/vmm-process.ts';

const skip = noKvm();
const pageBytes = 4096;

type Test = Parameters<typeof temporaryFolder>[0];

function diskFile(t: Test, bytes = 1 << 20): string {
  const path = join(temporaryFolder(t), 'disk.img');
  writeFileSync(path, new Uint8Array(bytes));
  return path;
}

function oneDisk(path: string, direct = false, overlay?: string): DevicesConfig {
  const disk = {
    path,
    readonly: false,
    direct,
    werror: 'enospc' as const,
    ...(overlay === undefined ? {} : { overlay }),
  };
  return { disks: [disk], nets: [], rng: { kind: 'none' } };
}

/** A page in which every sector is another. */
function pattern(seed: number): Uint8Array {
  return Uint8Array.from({ length: pageBytes }, (_, index) => (index * 7 + (index >> 8) * 13 + seed) & 0xff);
}

/** All that the guest prints until it ends. */
async function outputOf(machine: Machine): Promise<string> {
  const end = await machine.ended;
  if (end.kind !== 'power-off') throw new Error(`the guest ended by ${JSON.stringify(end.kind)}`);
  const text = takeOutput(machine);
  await machine.close();
  return text;
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hashRam(machine: Machine): string {
  const { memory } = machine.ram;
  return memory.regions.map(({ start, sizeBytes }) => hashOf(memory.slice(start, sizeBytes))).join();
}

for (const direct of [false, true]) {
  test(`a guest writes a page to its disk and reads it back, direct=${direct}`, { skip }, async (t) => {
    const path = diskFile(t);
    const machine = bootMachine(t, writingDisk(24, pattern(1)), { devices: oneDisk(path, direct) });
    t.equal(await outputOf(machine), 'OK');
    const file = readFileSync(path);
    t.ok(file.subarray(24 * 512, 24 * 512 + pageBytes).equals(pattern(1)), 'the file has it at its place');
    t.ok(
      file.subarray(0, 24 * 512).every((byte) => byte === 0),
      'and nothing before',
    );
    t.ok(
      file.subarray(24 * 512 + pageBytes).every((byte) => byte === 0),
      'or behind',
    );
  });
}

test('what a guest writes to an overlay is not in the base', { skip }, async (t) => {
  const path = diskFile(t);
  const devices = oneDisk(path, false, join(temporaryFolder(t), 'overlay'));
  t.equal(await outputOf(bootMachine(t, writingDisk(24, pattern(2)), { devices })), 'OK');
  t.ok(readFileSync(path).every((byte) => byte === 0));
});

test('what a guest wrote is in a copy of its paused overlay, and a stop for a moment flushes nothing', {
  skip,
}, async (t) => {
  const path = diskFile(t, hammeredPages * pageBytes);
  const overlay = join(temporaryFolder(t), 'overlay');
  const machine = bootMachine(t, hammering('.', Number(blockFeature.flush)), {
    devices: oneDisk(path, false, overlay),
  });
  let printed = '';
  await until(() => {
    printed += takeOutput(machine);
    return printed !== '';
  });
  const isAllocated = (): boolean =>
    readFileSync(overlay)
      .subarray(pageBytes, 2 * pageBytes)
      .some((byte) => byte !== 0);
  t.notOk(
    machine.whilePaused(() => isAllocated()),
    'the guest has flushed nothing',
  );
  machine.pause();
  const copy = `${overlay}-copy`;
  copyFileSync(overlay, copy);
  const rig = new DiskRig(t);
  const base = RawFile.open(path, { readOnly: true }, rig.engines);
  const disk = rig.owner.own(Overlay.open(copy, base, {}, rig.engines));
  const bytes = rig.read(disk, 0, hammeredPages * pageBytes) as Buffer;
  const done = machine.ram.memory.readU16(gpa(hammered.used));
  const numbers = Array.from({ length: hammeredPages }, (_, page) => bytes.readUInt32LE(page * pageBytes) & 0xffff);
  t.ok(numbers.includes((done - 1) & 0xffff), `the last of ${done} writes is there`);
  t.equal(new Set(numbers).size, hammeredPages, 'and all before it');
  machine.resume();
  machine.pause();
  machine.settleDisks();
});

test('a partition table for other sectors than the guest sees is told before it starts', { skip }, async (t) => {
  const path = diskFile(t);
  const content = readFileSync(path);
  content.write('EFI PART', pageBytes);
  writeFileSync(path, content);
  for (const [sector, notices] of [
    [
      undefined,
      [
        'disk disk0: its partition table is for sectors of 4096 bytes, and the guest will not find it in sectors of 512: ' +
          'give sector=4096',
      ],
    ],
    [4096, []],
  ] as const) {
    const told: string[] = [];
    const devices = oneDisk(path);
    const disks = devices.disks.map((disk) => ({ ...disk, sector }));
    const machine = bootMachine(t, writingDisk(24, pattern(1)), {
      devices: { ...devices, disks },
      notice: (text) => told.push(text),
    });
    t.equal(await outputOf(machine), 'OK');
    t.strictSame(told, notices);
  }
});

test('a disk that is only read refuses to be written', { skip }, async (t) => {
  const path = diskFile(t);
  const [disk] = oneDisk(path).disks;
  const devices = { ...oneDisk(path), disks: disk === undefined ? [] : [{ ...disk, readonly: true }] };
  t.equal(await outputOf(bootMachine(t, writingDisk(24, pattern(3)), { devices })), 'BAD');
  t.ok(readFileSync(path).every((byte) => byte === 0));
});

const entropyBytes = 256;

async function entropyFrom(t: Test, rng: DevicesConfig['rng']): Promise<string> {
  const machine = bootMachine(t, printingEntropy(0, entropyBytes), { devices: { disks: [], nets: [], rng } });
  const bytes = await outputOf(machine);
  if (bytes.length !== entropyBytes) throw new Error(`${bytes.length} bytes of entropy`);
  return bytes;
}

test('entropy with a seed is the same at every start, and another with another seed', { skip }, async (t) => {
  const source = new SeededRandom(7);
  const target = new AnonymousMapping('test', pageBytes);
  source.fill(target.address, entropyBytes);
  const expected = Buffer.from(viewMemory(target.address, entropyBytes)).toString('latin1');
  source.close();
  target.close();
  t.equal(await entropyFrom(t, { kind: 'seed', seed: 7 }), expected);
  t.equal(await entropyFrom(t, { kind: 'seed', seed: 7 }), expected);
  t.not(await entropyFrom(t, { kind: 'seed', seed: 8 }), expected);
});

test("entropy of the host's is another at every start", { skip }, async (t) => {
  const first = await entropyFrom(t, { kind: 'host' });
  t.not(await entropyFrom(t, { kind: 'host' }), first);
  t.ok(new Set(first).size > 100, 'bytes of many values');
});

for (const [kind, direct, overlay] of [
  ['a file', false, false],
  ['a file without the page cache', true, false],
  ['an overlay', false, true],
] as const) {
  test(`while paused neither RAM nor disk change, and no write is lost, over ${kind}`, { skip }, async (t) => {
    const path = diskFile(t);
    const written = overlay ? join(temporaryFolder(t), 'overlay') : path;
    const devices = oneDisk(path, direct, overlay ? written : undefined);
    const machine = bootMachine(t, hammering('.'), { devices });
    let printed = '';
    await until(() => {
      printed += takeOutput(machine);
      return printed !== '';
    });
    t.equal(printed, '.', 'every page was written once');
    const { memory } = machine.ram;
    let before = -1;
    for (let round = 0; round < 12; round++) {
      machine.pause();
      const ram = hashRam(machine);
      const disk = hashOf(readFileSync(written));
      await forAWhile(40);
      if (hashRam(machine) !== ram) t.fail(`RAM changed in round ${round}`);
      if (hashOf(readFileSync(written)) !== disk) t.fail(`the disk changed in round ${round}`);
      const latest = memory.readU32(gpa(hammered.latest));
      const used = memory.readU16(gpa(hammered.used));
      // The latest write is answered, or waits in the queue, or is done and its answer waits for the guest.
      const isDone = used === ((latest + 1) & 0xffff);
      if (!isDone && used !== (latest & 0xffff)) t.fail(`${used} writes used, the latest is ${latest}`);
      if (!overlay) checkPages(t, readFileSync(path), isDone ? latest : latest - 1, latest);
      machine.resume();
      await until(() => memory.readU32(gpa(hammered.latest)) > latest + 2);
      if (latest <= before) t.fail(`it stood still at ${latest}`);
      before = latest;
    }
    t.equal(takeOutput(machine), '', 'no write failed');
    await machine.close();
  });
}

/** The file holds in every place the last page that was written there, up to number `last`; `maybe` may be there too. */
function checkPages(t: { fail(message: string): unknown }, file: Buffer, last: number, maybe = last): void {
  for (let place = 0; place < hammeredPages; place++) {
    const expected = last - ((last - place) & (hammeredPages - 1));
    const found = file.readUInt32LE(place * pageBytes);
    if (found === maybe && (maybe - place) % hammeredPages === 0) continue;
    if (found !== expected) t.fail(`place ${place} holds page ${found}, not ${expected}; the last is ${last}`);
  }
}

/** A TAP where one can be made. */
const nets: DevicesConfig['nets'] = skip || noTaps() ? [] : [{ tap: freeName(), offload: true }];

for (const seed of [1, 2, 3]) {
  const options = { skip, timeout: 120_000 };
  test(`stands a guest that breaks every rule with two vCPUs, seed ${seed}`, options, async (t) => {
    const path = diskFile(t);
    const devices = { ...oneDisk(path, seed === 3), nets, rng: { kind: 'host' as const } };
    const attack = { seed, devices: 2 + nets.length, rounds: 150, announce: '!' };
    const notices: string[] = [];
    const code = attacking(attack, 24, pattern(seed));
    const machine = bootMachine(t, code, { cpus: 2, devices, notice: (text) => notices.push(text) });
    const { memory } = machine.ram;
    await until(() => machine.exits.mmioWrite > 1000);
    const beyondRam = (): number => {
      const { totalBytes, insideBytes } = residentMemory(machine.ram.shared.address, memory.sizeBytes);
      return totalBytes - insideBytes;
    };
    const before = beyondRam();

    let printed = '';
    let pauses = 0;
    let answered = false;
    machine.serial.receive(Buffer.from('?'));
    await until(() => {
      printed += takeOutput(machine);
      answered ||= printed.startsWith('?');
      if (!printed.includes('!') && machine.state === 'running') {
        machine.pause();
        const ram = hashRam(machine);
        const disk = hashOf(readFileSync(path));
        if (hashRam(machine) !== ram || hashOf(readFileSync(path)) !== disk) t.fail('it went on while paused');
        machine.resume();
        pauses++;
      }
      return printed.includes('!');
    });

    t.ok(answered, 'the serial port answers under attack');
    t.equal(printed, '?!');
    t.ok(pauses > 3, `paused ${pauses} times`);
    const grown = beyondRam() - before;
    t.ok(grown < 64 * MiB, `${Math.round(grown / MiB)} MiB more in use`);
    t.ok(
      notices.some((text) => text.includes('broke the rules')),
      'the operator is told',
    );
    t.ok(notices.length <= 10 * attack.devices, `${notices.length} notices, not one for each broken rule`);
    t.equal(readFileSync(path).length, 1 << 20, 'the disk has its size');

    machine.serial.receive(Buffer.from('g'));
    t.equal(await outputOf(machine), 'OK', 'after a reset the disk works');
    t.ok(
      readFileSync(path)
        .subarray(24 * 512, 24 * 512 + pageBytes)
        .equals(pattern(seed)),
    );
  });
}

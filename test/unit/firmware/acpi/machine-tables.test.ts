import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type AcpiMachine, buildAcpi, writeAcpi } from '../../../../firmware/acpi/machine-tables.ts';
import { gpa, MiB } from '../../../../src/memory/address.ts';
import { bufferedGuestMemory } from '../../../../src/memory/guest-memory.ts';
import { acpiTablesAddress, highMemoryStart, rsdpAddress } from '../../../../src/memory/layout.ts';
import { layOutRam } from '../../../../src/memory/regions.ts';

function machine(cpus: number, nodes: number, rest: Partial<AcpiMachine> = {}): AcpiMachine {
  return {
    cpus,
    serialPorts: [{ port: 0x3f8, gsi: 4 }],
    powerPort: 0x600,
    virtioMmio: Array.from({ length: nodes }, (_, index) => ({
      base: gpa(0xd000_0000 + index * 0x1000),
      size: 0x1000,
      gsi: 6 + index,
    })),
    ...rest,
  };
}

const shapes: Readonly<Record<string, AcpiMachine>> = {
  'one vCPU and nothing else': machine(1, 0, { serialPorts: [] }),
  'one vCPU, a serial port': machine(1, 0),
  'eight vCPUs, twelve virtio nodes, a power button': machine(8, 12, { powerButton: { gsi: 5 } }),
  'a generation id, and a power button': machine(1, 1, {
    powerButton: { gsi: 5 },
    generationId: { address: gpa(0xe_1000), gsi: 3 },
  }),
  'a generation id alone': machine(1, 1, { generationId: { address: gpa(0xe_1000), gsi: 3 } }),
  'everything a PC has': machine(8, 12, {
    powerButton: { gsi: 5 },
    pvpanicPort: 0x505,
    i8042: true,
    rtc: true,
    serialPorts: [
      { port: 0x3f8, gsi: 4 },
      { port: 0x2f8, gsi: 3 },
    ],
  }),
};

/** The table with this signature. */
function tableOf(shape: AcpiMachine, signature: string): Buffer {
  const found = buildAcpi(shape).writes.find(({ bytes }) => Buffer.from(bytes.subarray(0, 4)).toString() === signature);
  if (found === undefined) throw new Error(`no ${signature}`);
  return Buffer.from(found.bytes);
}

for (const [what, shape] of Object.entries(shapes)) {
  t.test(`${what}: the guest finds every table from the RSDP, and the sums are right`, async (t) => {
    const memory = bufferedGuestMemory(layOutRam(2 * MiB));
    const rsdp = writeAcpi(memory, shape);
    t.equal(rsdp, rsdpAddress);
    const table = (address: bigint | number): Buffer => {
      const start = gpa(Number(address));
      t.ok(start >= acpiTablesAddress && start < highMemoryStart, 'it lies in the reserved range');
      const bytes = Buffer.from(memory.slice(start, memory.readU32(gpa(start + 4))));
      t.equal(bytes.reduce((sum, byte) => sum + byte, 0) % 256, 0, `checksum of ${bytes.toString('latin1', 0, 4)}`);
      return bytes;
    };
    const root = Buffer.from(memory.slice(rsdp, 36));
    t.equal(root.toString('latin1', 0, 8), 'RSD PTR ');
    for (const length of [20, 36]) t.equal(root.subarray(0, length).reduce((sum, byte) => sum + byte, 0) % 256, 0);
    const xsdt = table(root.readBigUInt64LE(24));
    const [fadt, madt] = [table(xsdt.readBigUInt64LE(36)), table(xsdt.readBigUInt64LE(44))];
    const dsdt = table(fadt.readBigUInt64LE(140));
    t.same(
      [xsdt, fadt, madt, dsdt].map((bytes) => bytes.toString('latin1', 0, 4)),
      ['XSDT', 'FACP', 'APIC', 'DSDT'],
    );
    t.equal(xsdt.length, 52);
  });
}

t.test('the MADT has a local APIC for each vCPU, in order, and one I/O APIC from GSI 0', async (t) => {
  const madt = tableOf(machine(3, 0), 'APIC');
  t.equal(madt.readUInt32LE(36), 0xfee0_0000);
  t.equal(madt.readUInt32LE(40), 0, 'no 8259');
  t.equal(madt.subarray(44, 56).toString('hex'), '010c0000' + '0000c0fe' + '00000000');
  const cpus = [0, 1, 2].map((index) => madt.subarray(56 + index * 8, 64 + index * 8).toString('hex'));
  t.same(cpus, ['0008000001000000', '0008010101000000', '0008020201000000']);
  t.equal(madt.length, 80);
  t.throws(() => buildAcpi(machine(1000, 0)), RangeError);
});

t.test('the FADT says what is there and what is not', async (t) => {
  const bare = tableOf(machine(1, 0), 'FACP');
  t.equal(bare.length, 276);
  t.equal(bare.readUInt32LE(112), (1 << 20) | (1 << 10) | (1 << 5) | (1 << 4) | 1, 'hardware-reduced, reset register');
  t.equal(bare.readUInt16LE(109), 0b11_1100, 'no VGA, MSI, ASPM, CMOS clock, 8042');
  t.equal(tableOf(machine(1, 0, { i8042: true, rtc: true }), 'FACP').readUInt16LE(109), 0b01_1110);
  for (const [register, offset] of Object.entries({ reset: 116, 'sleep control': 244, 'sleep status': 256 })) {
    t.equal(
      bare.subarray(offset, offset + 12).toString('hex'),
      '01080001' + '0006000000000000',
      `${register} register`,
    );
  }
  t.equal(bare.readUInt8(128), 1, 'reset value');
  t.equal(bare.readUInt32LE(36) + bare.readUInt32LE(40) + bare.readUInt32LE(76), 0, 'no FACS, 32-bit DSDT, PM timer');
});

t.test('tables that would reach the RSDP are refused', async (t) => {
  t.throws(() => buildAcpi(machine(1, 4000)), /too many devices/);
});

const iasl = spawnSync('iasl', ['-v']).status === 0;
const skip = iasl ? false : 'iasl is missing: apt-get install acpica-tools';

t.test('iasl reads every table without a complaint and makes the same bytes of it again', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'colo-acpi-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const run = (...args: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync('iasl', args, { cwd: folder, encoding: 'utf8' });
    return { status, said: `${stdout}${stderr}` };
  };
  const complaints = (said: string): string[] =>
    said
      .replace(/0 Errors, 0 Warnings, 0 Remarks/g, '')
      .split('\n')
      .filter((line) => /error|warning|remark|invalid|incorrect|exception|could not|expected/i.test(line));

  for (const [what, shape] of Object.entries(shapes)) {
    const listings: Record<string, string> = {};
    for (const { bytes } of buildAcpi(shape).writes) {
      const signature = Buffer.from(bytes.subarray(0, 4)).toString();
      // iasl knows no RSDP in a file: it lacks the common header.
      if (signature === 'RSD ') continue;
      writeFileSync(join(folder, `${signature}.dat`), bytes);
      const read = run('-d', `${signature}.dat`);
      t.equal(read.status, 0, `${what}: ${signature} disassembles`);
      t.same(complaints(read.said), [], 'without a complaint');
      const listing = readFileSync(join(folder, `${signature}.dsl`), 'utf8');
      t.same(complaints(listing), []);
      listings[signature] = listing;

      // -oa: no optimisation, so that what is compiled is what was read.
      const made = run('-oa', `${signature}.dsl`);
      t.equal(made.status, 0, `${what}: ${signature} compiles again`);
      t.same(complaints(made.said), [], 'without a complaint');
      const again = readFileSync(join(folder, `${signature}.aml`));
      t.same(again.subarray(36), Buffer.from(bytes.subarray(36)), 'to the same bytes behind the header');
    }
    const asl = listings.DSDT ?? '';
    t.match(asl, /Name \(_S5, Package \(0x04\)[^{]*\{\s*0x05,\s*0x05,\s*Zero,\s*Zero\s*\}\)/);
    t.equal(asl.match(/"LNRO0005"/g)?.length ?? 0, shape.virtioMmio.length, 'virtio nodes');
    t.equal(asl.match(/EisaId \("PNP0501"\)/g)?.length ?? 0, shape.serialPorts.length, 'serial ports');
    const pressed = /Method \(_EVT, 1, Serialized\)[^{]*\{\s*If \(\(Arg0 == 0x05\)\)\s*\{\s*Notify \(PWRB, 0x80\)/;
    t.equal(pressed.test(asl), shape.powerButton !== undefined, 'power button');
    // Behind the button's, where there is one.
    const changed = /If \(\(Arg0 == 0x03\)\)\s*\{\s*Notify \(VGEN, 0x80\)/;
    t.equal(changed.test(asl), shape.generationId !== undefined, 'generation id');
    const place =
      /Name \(_CID, "VM_Gen_Counter"\)[\s\S]*?Name \(ADDR, Package \(0x02\)[^{]*\{\s*0x000E1000,\s*Zero\s*\}\)/;
    t.equal(place.test(asl), shape.generationId !== undefined, 'where it lies');
    const panicking = /Device \(PVPN\)\s*\{\s*Name \(_HID, "QEMU0001"\)[\s\S]*?IO \(Decode16,\s*0x0505,/;
    t.equal(panicking.test(asl), shape.pvpanicPort !== undefined, 'pvpanic');
  }
});

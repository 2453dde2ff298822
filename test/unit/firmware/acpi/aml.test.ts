import t from 'tap';
import {
  amlPackage,
  device,
  edgeInterrupt,
  eisaId,
  integer,
  io,
  memory32Fixed,
  name,
  nameString,
  resourceTemplate,
  scope,
  serializedMethod,
  text,
  withPkgLength,
} from '../../../../firmware/acpi/aml.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

t.test('a package length counts itself, in as few bytes as it takes', async (t) => {
  const lengthOf = (body: number): string =>
    hex(withPkgLength(new Uint8Array(body)).subarray(0, 5)).replace(/(00)+$/, '');
  t.equal(lengthOf(0), '01');
  t.equal(lengthOf(0x3e), '3f', 'the last of one byte');
  t.equal(lengthOf(0x3f), '4104', 'the first of two');
  t.equal(lengthOf(0x11f - 2), '4f11');
  t.equal(lengthOf(0xfff - 2), '4fff', 'the last of two');
  t.equal(lengthOf(0x1000 - 2), '810001', 'the first of three');
  t.equal(lengthOf(0x10_0000 - 3), 'c1000001', 'the first of four');
});

t.test('an integer takes its shortest form', async (t) => {
  t.equal(hex(integer(0)), '00');
  t.equal(hex(integer(1)), '01');
  t.equal(hex(integer(0xff)), '0aff');
  t.equal(hex(integer(0x1234)), '0b3412');
  t.equal(hex(integer(0xd000_0000)), '0c000000d0');
  t.equal(hex(integer(0x1_0000_0000)), '0e0000000001000000');
});

t.test('names, identifiers and strings are spelled as ACPI spells them', async (t) => {
  t.equal(hex(nameString('\\_SB_')), '5c5f53425f');
  t.equal(hex(nameString('_SB_.PWRB')), '2e5f53425f50575242');
  t.equal(hex(nameString('_SB_.PCI0.COM1')), '2f035f53425f50434930434f4d31');
  t.equal(hex(eisaId('PNP0501')), '0c41d00501');
  t.equal(hex(eisaId('PNP0C0C')), '0c41d00c0c');
  t.equal(hex(text('LNRO0005')), '0d4c4e524f3030303500');
  t.throws(() => nameString('com1'), RangeError);
  t.throws(() => eisaId('pnp0501'), RangeError);
});

t.test('the terms of a machine are the bytes that iasl makes of them', async (t) => {
  t.equal(hex(name('_S5_', amlPackage(5, 5, 0, 0))), '085f53355f1208040a050a050000');
  t.equal(hex(scope('\\_SB_')), '10065c5f53425f');
  t.equal(hex(serializedMethod('_EVT', 1)), '14065f45565409');
  t.equal(hex(io(0x3f8, 8)), '4701f803f8030108');
  t.equal(hex(edgeInterrupt(4)), '890600030104000000');
  const node = device(
    'V000',
    name('_HID', 'LNRO0005'),
    name('_UID', 0),
    name('_CCA', 1),
    name('_CRS', resourceTemplate(memory32Fixed(0xd000_0000, 0x1000), edgeInterrupt(5))),
  );
  t.equal(
    hex(node),
    '5b82410456303030' +
      '085f4849440d4c4e524f3030303500' +
      '085f55494400' +
      '085f43434101' +
      '085f435253111a0a1786090001000000d000100000890600030105000000' +
      '7900',
  );
});

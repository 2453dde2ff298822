import { test } from 'tap';
import { PcapngBlocks } from '../../../../src/colo/record/pcapng.ts';
import { readPcapng } from '../../../support/pcapng.ts';

test('blocks are as the format says, byte for byte', async (t) => {
  const blocks = new PcapngBlocks(1024);
  t.ok(blocks.section('us'));
  t.equal(
    Buffer.from(blocks.bytes.subarray(0, blocks.length)).toString('hex'),
    [
      ...['0a0d0d0a', '28000000', '4d3c2b1a', '01000000', 'ffffffffffffffff'],
      ...['04000200', '75730000', '00000000', '28000000'],
    ].join(''),
  );
  blocks.clear();
  t.ok(blocks.packet(1, 0x0005_0000_0001, 'out', 'why', Uint8Array.of(1, 2, 3, 4, 5)));
  t.equal(
    Buffer.from(blocks.bytes.subarray(0, blocks.length)).toString('hex'),
    [
      ...['06000000', '3c000000', '01000000', '05000000', '01000000', '05000000', '05000000', '0102030405000000'],
      ...['01000300', '77687900', '02000400', '02000000', '00000000', '3c000000'],
    ].join(''),
  );
});

test('what is written is read: times, names, text of all languages, and counts beyond 32 bits', async (t) => {
  const blocks = new PcapngBlocks(4096);
  const atUs = 1_795_000_000_123_456;
  const frame = Uint8Array.from({ length: 61 }, (_, index) => index);
  blocks.section('test');
  blocks.interface('card 0');
  blocks.interface('card 1');
  blocks.packet(1, atUs, 'in', 'grüße', frame);
  blocks.statistics(1, atUs, 2 ** 33, 5, 'some');
  const { sections, packets, statistics } = readPcapng(blocks.bytes.subarray(0, blocks.length));
  t.equal(sections, 1);
  t.strictSame(packets, [{ on: 'card 1', atUs, comment: 'grüße', direction: 'in', frame }]);
  t.strictSame(statistics, [{ on: 'card 1', received: 2 ** 33 + 5, dropped: 5, comment: 'some' }]);
});

test('of a block that does not fit nothing is written', async (t) => {
  for (let room = 0; room < 60; room++) {
    const blocks = new PcapngBlocks(40 + room);
    blocks.section('us');
    const before = blocks.length;
    t.notOk(blocks.packet(0, 1, 'in', 'why', Uint8Array.of(1, 2, 3, 4, 5)));
    t.equal(blocks.length, before);
  }
  const exact = new PcapngBlocks(60);
  t.ok(exact.packet(0, 1, 'in', 'why', Uint8Array.of(1, 2, 3, 4, 5)));
});

import { test } from 'tap';
import { blockBits, setShared } from '../../../../../src/block/replicated/changed-blocks.ts';
import { regionBytes } from '../../../../../src/block/replicated/region-file.ts';
import { Difference } from '../../../../../src/colo/disk/history/difference.ts';

const block = 4096;
const sizes = [regionBytes + 5 * block - 512, 512];

test('what was written differs until the standby has it durable', async (t) => {
  const difference = new Difference(sizes);
  t.equal(difference.askDurable(), false, 'there is nothing');
  difference.wrote(0, 512, block);
  t.equal(difference.blocks, 2);
  t.equal(difference.askDurable(), true);
  difference.wrote(0, 3 * block, 512);
  t.equal(difference.askDurable(), false, 'one at a time');
  difference.durable();
  t.equal(difference.blocks, 1, 'what came meanwhile was not asked for');
  t.equal(difference.unsettledBytes, 0, 'and none of it is to be sent again');
  difference.begin();
  t.equal(difference.unsettledBytes, block, 'unless this standby is lost');
});

test('regions of what differs, in whichever way', (t) => {
  const difference = new Difference(sizes);
  t.strictSame(difference.regions, Uint8Array.of(0));
  difference.addRegions(Uint8Array.of(0b100));
  difference.wrote(0, 0, 512);
  t.strictSame(difference.regions, Uint8Array.of(0b101));
  difference.askDurable();
  difference.wrote(0, regionBytes, 512);
  t.strictSame(difference.regions, Uint8Array.of(0b111));
  t.end();
});

test('what is settled differs until it is durable there too', async (t) => {
  const difference = new Difference(sizes);
  difference.addAll();
  t.equal(difference.unsettledBytes, regionBytes + 6 * block);
  difference.settle(0, 0, 64 * 1024);
  t.equal(difference.unsettledBytes, regionBytes + 6 * block - 64 * 1024);
  t.equal(difference.blocks * block, regionBytes + 6 * block);
  difference.askDurable();
  difference.begin();
  difference.durable();
  t.equal(difference.unsettledBytes, regionBytes + 6 * block, 'an answer that comes after the end counts for nothing');
});

test("regions of the other side's are added, and end with their disk", async (t) => {
  const difference = new Difference(sizes);
  difference.addRegions(Uint8Array.of(0b110));
  t.equal(difference.unsettledIn(0, 63), 0);
  t.equal(difference.unsettledIn(0, 64), 0b11111);
  t.equal(difference.unsettledIn(1, 0), 1);
  t.equal(difference.nextUnsettled(0, 0), 64);
  t.equal(difference.nextUnsettled(0, 65), undefined);
  t.equal(difference.nextUnsettled(1, 0), 0);
  t.equal(difference.blocksIn(Uint8Array.of(0b100)), 1);
  difference.addRegions(Uint8Array.of(0xff, 0xff));
  t.equal(difference.blocks, 1024 + 6, 'what lies behind the disks is nothing');
});

test('what another thread has noted is taken once', async (t) => {
  const difference = new Difference(sizes);
  const shared = new Int32Array(blockBits(sizes));
  setShared(shared, 0, 31 * block, 34 * block);
  setShared(shared, 2, 0, 512);
  difference.drain(shared);
  t.equal(difference.blocks, 35);
  t.equal(difference.unsettledIn(0, 1), 0x8000);
  t.equal(difference.unsettledIn(0, 2), 0xffff);
  t.equal(difference.unsettledIn(0, 4), 1);
  t.ok(shared.every((word) => word === 0));
});

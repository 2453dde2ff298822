import { test } from 'tap';
import {
  decodeRegionFile,
  encodeRegionFile,
  encodeSector,
  regionBitmapBytes,
  regionBytes,
  regionPlaces,
  regionSectorBytes,
} from '../../../../src/block/replicated/region-file.ts';

const regions = 9000;
const id = new Uint8Array(16).fill(7);
const bitmap = Uint8Array.from({ length: regionBitmapBytes(regions) }, (_, at) => (at * 37) & 0xff);

test('each disk begins with a region of its own', async (t) => {
  t.strictSame(regionPlaces([1, regionBytes + 512, 0, regionBytes]), { first: [0, 1, 3, 3], count: 4 });
});

test('what was written is read, and a sector can be written alone', async (t) => {
  const file = encodeRegionFile(id, bitmap, regions);
  t.equal(file.length, 3 * regionSectorBytes);
  t.strictSame(decodeRegionFile(file, id, regions), bitmap);
  const changed = bitmap.slice();
  changed[500] = 0xaa;
  encodeSector(file.subarray(regionSectorBytes), id, 1, changed);
  t.strictSame(decodeRegionFile(file, id, regions), changed);
});

test('a file that is torn, cut off or of another log is none', async (t) => {
  const file = encodeRegionFile(id, bitmap, regions);
  for (const at of [0, 20, regionSectorBytes + 511, 2 * regionSectorBytes + 3]) {
    const torn = file.slice();
    torn[at] = (torn[at] as number) ^ 1;
    t.equal(decodeRegionFile(torn, id, regions), undefined, `byte ${at}`);
  }
  t.equal(decodeRegionFile(file.subarray(regionSectorBytes), id, regions), undefined);
  t.equal(decodeRegionFile(file, new Uint8Array(16), regions), undefined);
  const swapped = Buffer.concat([file.subarray(512, 1024), file.subarray(0, 512), file.subarray(1024)]);
  t.equal(decodeRegionFile(swapped, id, regions), undefined, 'a sector in the place of another one');
});

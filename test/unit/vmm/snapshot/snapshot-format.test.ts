import { crc32 } from 'node:zlib';
import { test } from 'tap';
import { pageSize } from '../../../../src/memory/address.ts';
import {
  decodePrelude,
  encodePrelude,
  prelude,
  preludeChecksum,
  ramOffset,
} from '../../../../src/vmm/snapshot/snapshot-format.ts';

const tail = new Uint8Array([1, 2, 3]);
const ramBytes = 5 * pageSize;

test('the first page says where the parts lie', async (t) => {
  t.strictSame(decodePrelude(encodePrelude(ramBytes, tail)), {
    ramBytes,
    tailOffset: ramOffset + ramBytes,
    tailBytes: 3,
    tailChecksum: crc32(tail),
  });
});

test('every bit of the first page counts', async (t) => {
  const page = encodePrelude(ramBytes, tail);
  const undetected: number[] = [];
  for (let bit = 0; bit < pageSize * 8; bit++) {
    const mask = 1 << (bit & 7);
    page[bit >> 3] = (page[bit >> 3] as number) ^ mask;
    if (typeof decodePrelude(page) !== 'string') undetected.push(bit);
    page[bit >> 3] = (page[bit >> 3] as number) ^ mask;
  }
  t.strictSame(undetected, []);
});

test('a first page that is cut is none', async (t) => {
  const page = encodePrelude(ramBytes, tail);
  const wrong: string[] = [];
  for (let length = 0; length < pageSize; length++) {
    const said = decodePrelude(page.subarray(0, length));
    const expected = length < 8 ? 'is no snapshot of colo-vmm' : `was cut: it has only ${length} bytes`;
    if (typeof said !== 'string' || !said.startsWith(expected)) wrong.push(`${length} bytes: ${JSON.stringify(said)}`);
  }
  t.same(wrong, []);
});

type Fields = ReturnType<typeof prelude.over>;

for (const [what, message, change] of [
  [
    'a newer version',
    /written by a newer version of colo-vmm: it is of version 2, and this one knows up to 1/,
    { version: 2 },
  ],
  ['version 0', /makes no sense/, { version: 0 }],
  ['no RAM', /makes no sense/, { ramBytes: 0n, tailOffset: 4096n }],
  ['half a page', /makes no sense/, { ramBytes: 2048n, tailOffset: 6144n }],
  ['more RAM than there is', /makes no sense/, { ramBytes: 1n << 60n, tailOffset: (1n << 60n) + 4096n }],
  ['a tail elsewhere', /makes no sense/, { tailOffset: 4096n }],
  ['no tail', /makes no sense/, { tailBytes: 0n }],
  ['a tail without end', /makes no sense/, { tailBytes: 1n << 40n }],
] as const satisfies readonly (readonly [string, RegExp, Partial<Fields>])[]) {
  test(`refuses a first page that tells of ${what}, though its checksum is right`, async (t) => {
    const page = encodePrelude(ramBytes, tail);
    Object.assign(prelude.over(page), change);
    prelude.over(page).checksum = preludeChecksum(page);
    t.match(decodePrelude(page), message);
  });
}

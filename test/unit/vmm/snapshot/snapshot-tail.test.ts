import { Encoder } from 'cbor-x';
import { test } from 'tap';
import { decodeTail, encodeTail, type SnapshotTail } from '../../../../src/vmm/snapshot/snapshot-tail.ts';
import { emptyMachineState } from '../../../support/snapshot-machine.ts';

const tail: SnapshotTail = {
  version: 1,
  id: 'one',
  base: { id: 'zero', path: '../zero.snap' },
  takenAt: 1_700_000_000_000,
  config: {
    cpus: 2,
    disk: [{ path: '/root.img', id: 'root', readonly: false, direct: true, overlay: '/mine.img', werror: 'stop' }],
    net: [{ tap: 'tap0', mac: '02:00:00:00:00:01', mtu: 1400, offload: false, bridge: 'br0' }],
    rng: { kind: 'seed', seed: 7 },
  },
  diskTimes: [1_700_000_000_000.25],
  state: emptyMachineState(65_536),
  checksums: new Uint8Array([1, 2, 3, 4]),
  pages: new Uint8Array(8),
};

test('what was written is read again', async (t) => {
  t.strictSame(decodeTail(encodeTail(tail)), tail);
  for (const kind of ['none', 'host'] as const) {
    const other = { ...tail, base: null, pages: null, config: { ...tail.config, rng: { kind } } };
    t.strictSame(decodeTail(encodeTail(other)), other, kind);
  }
});

test('a tail that is cut is none', async (t) => {
  const bytes = encodeTail(tail);
  for (let length = 0; length < bytes.length; length++) {
    t.throws(() => decodeTail(bytes.subarray(0, length)), { code: 'VM_STATE' });
  }
});

const encoder = new Encoder({ useRecords: false, tagUint8Array: false });
const config = { ...tail.config, rng: 'none' };

for (const [what, message, change] of [
  ['of a newer version', /written by a newer version of colo-vmm: it is of version 2/, { version: 2 }],
  ['without an id', /snapshot\.id/, { id: undefined }],
  ['with an empty id', /snapshot\.id is empty/, { id: '' }],
  ['with something that is not known', /snapshot\.extra is not known/, { extra: 1 }],
  ['with a base that has no path', /snapshot\.base\.path is missing/, { base: { id: 'zero' } }],
  ['of no vCPUs', /snapshot\.config\.cpus/, { config: { ...config, cpus: 0 } }],
  ['of half a vCPU', /snapshot\.config\.cpus/, { config: { ...config, cpus: 1.5 } }],
  ['with a disk of no file', /snapshot\.config\.disk/, { config: { ...config, disk: [{ id: 'root' }] } }],
  ['with a card whose TAP has no name', /snapshot\.config\.net/, { config: { ...config, net: [{ tap: '' }] } }],
  ['with entropy from nowhere', /snapshot\.config\.rng/, { config: { ...config, rng: 'moon' } }],
  ['of a time that is none', /snapshot\.takenAt is no time/, { takenAt: Number.NaN }],
  ['with checksums in words', /snapshot\.checksums is no sequence of bytes/, { checksums: 'abcd' }],
  ['of a machine that is none', /machine is no record of named fields/, { state: 1 }],
] as const) {
  test(`refuses a tail ${what}`, async (t) => {
    t.throws(() => decodeTail(encoder.encode({ ...tail, config, ...change })), { code: 'VM_STATE', message });
  });
}

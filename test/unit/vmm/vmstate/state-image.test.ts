import { test } from 'tap';
import { VmStateError } from '../../../../src/devices/vm-state-error.ts';
import { type ImageShape, StateImage } from '../../../../src/vmm/vmstate/state-image.ts';
import { randomNumbers } from '../../../support/random.ts';

const shape: ImageShape = { cpus: 2, msrRows: 5, cpuidRows: 3, xsaveBytes: 4096 };
const clock = { kvmclockNs: 1n << 60n, realtimeNs: 77n, tscKhz: 2_400_000, tsc: [5n, (1n << 64n) - 1n] };

function filled(): StateImage {
  const image = new StateImage(shape);
  image.memoryBytes = 2 ** 40;
  image.hasXcrs = true;
  image.clock = clock;
  image.setRows(1, 'msrs', 2);
  image.setMsr(1, 0, 0x174, 1n);
  image.setMsr(1, 1, 0xc000_0080, (1n << 64n) - 1n);
  image.setDeadline(1, 0x6e0, 99n);
  image.vcpuBytes(1, 'xsave').fill(7);
  return image;
}

test('is the same again when its bytes come from somewhere', async (t) => {
  const image = filled();
  const copy = StateImage.from(Uint8Array.from(image.bytes));
  t.strictSame(copy.shape, shape);
  t.strictSame(copy.clock, clock);
  t.strictSame([copy.memoryBytes, copy.hasXcrs], [2 ** 40, true]);
  t.strictSame(copy.deadlines, [0n, 99n]);
  t.strictSame([copy.rows(1, 'msrs'), copy.msrIndex(1, 1), copy.msrValue(1, 1)], [2, 0xc000_0080, (1n << 64n) - 1n]);
  t.strictSame(copy.bytes, image.bytes);
});

test('no part of it lies over another', async (t) => {
  const image = new StateImage(shape);
  const head = image.bytes.slice(0, image.vmOffset('picMaster'));
  for (const part of ['picMaster', 'picSlave', 'ioapic', 'pit'] as const) image.vmBytes(part).fill(1);
  image.clock = { ...clock, kvmclockNs: 0n, realtimeNs: 0n, tscKhz: 0 };
  for (let vcpu = 0; vcpu < shape.cpus; vcpu++) {
    for (const part of ['mpState', 'regs', 'sregs', 'debugRegs', 'events', 'xcrs', 'lapic', 'xsave'] as const) {
      const bytes = image.vcpuBytes(vcpu, part);
      t.ok(
        bytes.every((byte) => byte === 0),
        `${part} of vcpu ${vcpu} was not touched before`,
      );
      t.equal(image.vcpuOffset(vcpu, part) % 8, 0, 'as the kernel wants it');
      bytes.fill(2);
    }
  }
  t.strictSame(image.bytes.slice(0, head.length), head);
  t.strictSame(image.clock.tsc, clock.tsc);
});

test('tells parts that are the same from those that differ in any byte', async (t) => {
  const [here, there] = [filled(), filled()];
  t.ok(here.vcpuPartEquals(1, 'xsave', there));
  const bytes = there.vcpuBytes(1, 'sregs');
  for (const at of [0, 1, bytes.length - 1]) {
    bytes[at] = 1;
    t.notOk(here.vcpuPartEquals(1, 'sregs', there), `byte ${at}`);
    bytes[at] = 0;
    t.ok(here.vcpuPartEquals(1, 'sregs', there));
  }
  there.vmBytes('pit')[111] = 1;
  t.notOk(here.vmPartEquals('pit', there));
  t.ok(here.vmPartEquals('ioapic', there));
});

const withU32 = (bytes: Uint8Array, at: number, value: number): Uint8Array => {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, value, true);
  return bytes;
};

const broken: readonly (readonly [string, RegExp, (bytes: Uint8Array) => Uint8Array])[] = [
  ['nothing', /has 0 bytes, and its header alone/, () => new Uint8Array(0)],
  ['a byte less at its end', /has \d+ bytes and must have/, (bytes) => bytes.subarray(0, -1)],
  ['a byte more', /has \d+ bytes and must have/, (bytes) => Uint8Array.from([...bytes, 0])],
  ['another magic', /is none of a machine/, (bytes) => withU32(bytes, 0, 1)],
  ['a newer version', /is of version 2/, (bytes) => withU32(bytes, 4, 2)],
  ['another size in its header', /is of another shape/, (bytes) => withU32(bytes, 8, 1)],
  ['no vCPUs', /has 0 vCPUs/, (bytes) => withU32(bytes, 12, 0)],
  ['four billion vCPUs', /has 4294967295 vCPUs/, (bytes) => withU32(bytes, 12, 0xffff_ffff)],
  ['room for too many MSRs', /has msrRows of 4294967295/, (bytes) => withU32(bytes, 16, 0xffff_ffff)],
  ['room for too much CPUID', /has cpuidRows of 257/, (bytes) => withU32(bytes, 20, 257)],
  ['a huge XSAVE area', /has xsaveBytes of 65537/, (bytes) => withU32(bytes, 24, 65_537)],
  ['a strange flag', /has hasXcrs of 2/, (bytes) => withU32(bytes, 28, 2)],
  [
    'more MSRs than there is room for',
    /vcpus\[1\].msrs are 6, and there is room for 5/,
    (bytes) => withU32(bytes, filled().vcpuOffset(1, 'msrs'), 6),
  ],
  [
    'more rows of CPUID than there is room for',
    /vcpus\[0\].cpuid are 4, and there is room for 3/,
    (bytes) => withU32(bytes, filled().vcpuOffset(0, 'cpuid'), 4),
  ],
  [
    'two deadlines',
    /vcpus\[0\].tscDeadline is not one/,
    (bytes) => withU32(bytes, filled().vcpuOffset(0, 'deadline'), 2),
  ],
  ['chips in another order', /picSlave is another/, (bytes) => withU32(bytes, filled().vmOffset('picSlave'), 0)],
];

for (const [what, message, breakIt] of broken) {
  test(`refuses bytes with ${what}`, async (t) => {
    t.throws(() => StateImage.from(breakIt(Uint8Array.from(filled().bytes))), { name: 'VmStateError', message });
  });
}

test('an image that does not take bytes stays as it was', async (t) => {
  const image = filled();
  const before = image.bytes.slice();
  const wrong = Uint8Array.from(new StateImage({ ...shape, msrRows: 0, cpuidRows: 5 }).bytes);
  t.throws(() => image.set(wrong), VmStateError);
  t.throws(() => image.set(wrong.subarray(1)), VmStateError);
  t.strictSame(image.bytes, before);
});

test('whatever its bytes are, an image is made of them or refused', async (t) => {
  const random = randomNumbers(7);
  let accepted = 0;
  for (let round = 0; round < 5000; round++) {
    const bytes = Uint8Array.from(filled().bytes);
    for (let changes = 1 + random(3); changes > 0; changes--) {
      // Half of them in the header, where it matters most.
      const at = random(2) === 0 ? random(64) : random(bytes.length);
      bytes[at] = random(256);
    }
    try {
      StateImage.from(random(8) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes);
      accepted++;
    } catch (error) {
      if (!(error instanceof VmStateError)) throw error;
    }
  }
  t.ok(accepted > 100 && accepted < 4900, `${accepted} accepted`);
});

import { test } from 'tap';
import { hasHardwareVirtualisation, isLinux } from '../../../../src/vmm/command/hardware.ts';

const cpuinfo = (flags: string): string =>
  `processor\t: 0\nmodel name\t: A CPU with vmx in its name\nflags\t\t: ${flags}\nbugs\t\t: svm\n`;

test('finds hardware virtualisation by the processor flags vmx and svm', async (t) => {
  t.equal(hasHardwareVirtualisation(cpuinfo('fpu vmx sse'), false), true);
  t.equal(hasHardwareVirtualisation(cpuinfo('fpu sse svm'), false), true);
});

test('is not misled by other words', async (t) => {
  t.equal(hasHardwareVirtualisation(cpuinfo('fpu svm_lock vmxnet sse'), false), false);
  t.equal(hasHardwareVirtualisation('', false), false);
});

test('does not believe the flags where KVM runs without them', async (t) => {
  t.equal(hasHardwareVirtualisation(cpuinfo('fpu vmx sse'), true), false);
});

test('knows Linux by its boot header, and by its banner when it is not compressed', async (t) => {
  const image = new Uint8Array(2048);
  t.equal(isLinux(image), false);
  image.set(Buffer.from('HdrS'), 0x202);
  t.equal(isLinux(image), true);
  t.equal(isLinux(Buffer.from('...Linux version 6.1.0 (gcc)...')), true);
  t.equal(isLinux(new Uint8Array(3)), false);
});

test('does not take a boot image that has nothing to unpack for Linux', async (t) => {
  const image = new Uint8Array(2048);
  image.set(Buffer.from('HdrS'), 0x202);
  const view = new DataView(image.buffer);
  view.setUint16(0x206, 0x020c, true);
  t.equal(isLinux(image), false);
  view.setUint32(0x24c, 1, true);
  t.equal(isLinux(image), true);
});

test('looks at the bytes it was given, not at what lies around them', async (t) => {
  const buffer = Buffer.from('Linux version 6.1.0 and more');
  t.equal(isLinux(buffer.subarray(6)), false);
});

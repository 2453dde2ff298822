import t from 'tap';
import { chooseMode } from '../../../tools/lab/mode.ts';

const capable = { cpuFlags: new Set(['svm']), kvmUsable: true, kvmIsSoftware: false };

t.test('native only where Linux guests run on this KVM', async (t) => {
  t.equal(chooseMode(capable, undefined).mode, 'native');
  t.equal(chooseMode({ ...capable, cpuFlags: new Set(['vmx']) }, '').mode, 'native');
  t.equal(chooseMode({ ...capable, cpuFlags: new Set(['sse']) }, undefined).mode, 'emulated');
  t.equal(chooseMode({ ...capable, kvmUsable: false }, undefined).mode, 'emulated');
  t.equal(chooseMode({ ...capable, kvmIsSoftware: true }, undefined).mode, 'emulated');
});

t.test('LAB overrides, and must be a mode', async (t) => {
  t.equal(chooseMode(capable, 'emulated').mode, 'emulated');
  t.equal(chooseMode({ ...capable, kvmUsable: false }, 'native').mode, 'native');
  t.throws(() => chooseMode(capable, 'nativ'), /emulated or native/);
});

import { encode } from 'cbor-x';
import { test } from 'tap';
import { decodeState, StateEncoder } from '../../../../src/colo/machine/checkpoint-state.ts';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import type { TranslatorState } from '../../../../src/colo/translate/translator-state.ts';
import { StateImage } from '../../../../src/vmm/vmstate/state-image.ts';
import { brokenStates } from '../../../support/broken-states.ts';
import { tcpPacket } from '../../../support/packets.ts';
import { randomNumbers } from '../../../support/random.ts';
import { emptyMachineState } from '../../../support/snapshot-machine.ts';
import { TranslateRig } from '../../../support/translate-rig.ts';

const { serial } = emptyMachineState(4096);
const seed = Uint8Array.from({ length: 32 }, (_, index) => index + 1);
const image = new StateImage({ cpus: 2, msrRows: 3, cpuidRows: 1, xsaveBytes: 4096 });
image.memoryBytes = 4096;
image.setMsr(1, 2, 0x277, 77n);

const bytesOf = (sent: Uint8Array): Uint8Array => {
  const { storage, sizeBytes } = new StateEncoder().encode({
    image,
    own: { serial: { ...serial, sent }, pciAddress: 5 },
    devices: [],
    seed,
  });
  return new Uint8Array(storage, 0, sizeBytes).slice();
};

test('a state arrives as it was', async (t) => {
  const { image: arrived, own, devices, seed: sown } = decodeState(bytesOf(Uint8Array.of(1, 2)));
  t.ok(Buffer.from(arrived.bytes).equals(Buffer.from(image.bytes)));
  t.strictSame(own, { serial: { ...serial, sent: Uint8Array.of(1, 2) }, pciAddress: 5 });
  t.strictSame(devices, []);
  t.strictSame(sown, seed);
});

test('a guest that has ended says so, and how', async (t) => {
  const state = { image, own: { serial, pciAddress: 5 }, devices: [], seed };
  const roundTrip = (exitCode?: number) => {
    const { storage, sizeBytes } = new StateEncoder().encode(exitCode === undefined ? state : { ...state, exitCode });
    return decodeState(new Uint8Array(storage, 0, sizeBytes)).exitCode;
  };
  t.equal(roundTrip(), undefined);
  t.equal(roundTrip(0), 0);
  t.equal(roundTrip(4), 4);
});

test("connections that a survivor's guest has under other numbers travel, and are checked", async (t) => {
  const rig = new TranslateRig();
  rig.out(tcpPacket({ destinationPort: 7, flags: tcpFlag.syn | tcpFlag.ack }));
  const translation = rig.translator.save();
  const state = { image, own: { serial, pciAddress: 5 }, devices: [], seed };
  const roundTrip = (given?: TranslatorState) => {
    const { storage, sizeBytes } = new StateEncoder().encode(
      given === undefined ? state : { ...state, translation: given },
    );
    return decodeState(new Uint8Array(storage, 0, sizeBytes)).translation;
  };
  t.equal(roundTrip(), undefined);
  t.strictSame(roundTrip(translation), translation);
  t.throws(() => roundTrip({ flows: [{}] } as unknown as TranslatorState), { code: 'VM_STATE' });
});

test('an encoder writes over what it wrote before, in the same memory if there is room', async (t) => {
  const encoder = new StateEncoder();
  const state = (bytes: number) => ({
    image,
    own: { serial: { ...serial, sent: new Uint8Array(bytes) }, pciAddress: 5 },
    devices: [],
    seed,
  });
  const first = encoder.encode(state(0));
  const second = encoder.encode(state(100));
  t.equal(second.storage, first.storage);
  t.ok(second.sizeBytes > first.sizeBytes);
  const { storage, sizeBytes } = encoder.encode(state(60_000));
  t.equal(decodeState(new Uint8Array(storage, 0, sizeBytes)).own.serial.sent.length, 60_000);
});

test('bytes of a stranger are refused in one line, or are a state', async (t) => {
  const good = bytesOf(Uint8Array.of(1));
  const refused = (bytes: Uint8Array): void => {
    t.throws(() => decodeState(bytes), { code: 'VM_STATE', message: /^[^\n]+$/ });
  };
  refused(new Uint8Array(0));
  refused(good.subarray(0, 3));
  refused(good.subarray(0, good.length - 1));
  refused(Uint8Array.from([...good, 0]));
  refused(Uint8Array.of(255, 255, 255, 255, 0));
  const random = randomNumbers(3);
  for (let round = 0; round < 3000; round++) {
    const bad = good.slice();
    const at = random(2) === 0 ? random(64) : good.length - 1 - random(300);
    bad[at] = (bad[at] as number) ^ (1 << random(8));
    try {
      decodeState(bad);
    } catch (error) {
      if ((error as { code?: string }).code !== 'VM_STATE') t.fail(`${error} at byte ${at}`);
    }
  }
});

test('device state with something that does not belong there is refused', async (t) => {
  const head = bytesOf(new Uint8Array(0)).subarray(0, 4 + image.bytes.length);
  const wrong: string[] = [];
  const good = { version: 4, serial, pciAddress: 5, devices: [], seed, exitCode: 3, translation: null };
  t.equal(decodeState(Buffer.concat([head, encode(good)])).exitCode, 3);
  for (const { value, change, hopeless } of brokenStates(good)) {
    const bytes = Buffer.concat([head, encode(value)]);
    try {
      decodeState(bytes);
      // CBOR knows no difference between a missing value and undefined in lists.
      if (hopeless) wrong.push(`${change} was taken`);
    } catch (error) {
      if ((error as { code?: string }).code !== 'VM_STATE') wrong.push(`${change}: ${error}`);
    }
  }
  t.strictSame(wrong, []);
});

test('a seed that nobody could have drawn, and a state of a version without one, are refused', async (t) => {
  const head = bytesOf(new Uint8Array(0)).subarray(0, 4 + image.bytes.length);
  const good = { version: 4, serial, pciAddress: 5, devices: [], seed, exitCode: null, translation: null };
  const { seed: _, ...older } = { ...good, version: 2 };
  for (const [value, message] of [
    [{ ...good, seed: new Uint8Array(32) }, 'checkpoint.seed are all zero'],
    [{ ...good, seed: seed.subarray(1) }, 'checkpoint.seed are not 32 bytes'],
    [{ ...good, seed: Uint8Array.of(...seed, 1) }, 'checkpoint.seed has 33 bytes and may have 32'],
    [{ ...good, seed: 'secret' }, 'checkpoint.seed is no sequence of bytes'],
    [older, 'checkpoint.version is of another colo-vmm: run the same one on both hosts'],
    [{ ...good, version: 5 }, /newer version of colo-vmm: it is of version 5, and this one knows up to 4/],
  ] as const) {
    t.throws(() => decodeState(Buffer.concat([head, encode(value)])), { code: 'VM_STATE', message });
  }
});

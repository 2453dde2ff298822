import { test } from 'tap';
import { checkNetState } from '../../../../src/devices/net/net-state-schema.ts';

const state = { kind: 'net', version: 1, guestOffloads: 0x80n, waiting: new Uint8Array(65_562), nextIsSeen: false };

test('takes what a card saves, with the longest packet', async (t) => {
  t.strictSame(checkNetState(state), state);
});

for (const [what, change, message] of [
  ['another device', { kind: 'rng' }, /device\.kind is not net/],
  ['a version that never was', { version: 0 }, /device\.version is no version/],
  ['a newer version', { version: 2 }, /it is of version 2/],
  ['a longer packet', { waiting: new Uint8Array(65_563) }, /device\.waiting has 65563 bytes and may have 65562/],
  ['fields that are not known', { colour: 'red' }, /device\.colour is not known/],
] as const) {
  test(`refuses ${what}`, async (t) => {
    t.throws(() => checkNetState({ ...state, ...change }), { code: 'VM_STATE', message });
  });
}

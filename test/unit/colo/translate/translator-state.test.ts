import { test } from 'tap';
import { tcpFlag } from '../../../../src/colo/packet/wire.ts';
import { checkedTranslatorState, type TranslatorState } from '../../../../src/colo/translate/translator-state.ts';
import { tcpPacket } from '../../../support/packets.ts';
import { TranslateRig } from '../../../support/translate-rig.ts';

function state(connections = 1): TranslatorState {
  const rig = new TranslateRig();
  for (let port = 1; port <= connections; port++) {
    rig.out(tcpPacket({ destinationPort: port, flags: tcpFlag.syn | tcpFlag.ack }));
  }
  return JSON.parse(JSON.stringify(rig.translator.save()));
}

test('takes what a translator saves, and nothing beside it', async (t) => {
  const saved = state(2);
  t.same(checkedTranslatorState(saved, 2), saved);
  const [flow] = saved.flows;
  const more = { flows: [{ ...flow, index: 7, isClosed: true }] };
  t.same(checkedTranslatorState(more, 2), { flows: [flow] });
});

test('refuses what is no list of connections, or too long a one', async (t) => {
  for (const bad of [undefined, null, 7, {}, { flows: {} }]) {
    t.throws(() => checkedTranslatorState(bad, 2), /not a list of at most 2/);
  }
  t.throws(() => checkedTranslatorState(state(3), 2), /not a list of at most 2/);
  t.throws(() => checkedTranslatorState({ flows: [null] }, 2), /connection 0 .* fields/);
});

test('refuses a connection with any field that is missing or of another kind', async (t) => {
  const [flow] = state().flows;
  for (const field of Object.keys(flow as object)) {
    for (const bad of [undefined, 'x', 2 ** 31, 0.5]) {
      const flows = [flow, { ...flow, [field]: bad }];
      t.throws(() => checkedTranslatorState({ flows }, 2), { message: new RegExp(`connection 1 .* valid ${field}$`) });
    }
  }
  const key = flow?.key ?? [];
  for (const bad of [key.slice(1), [...key, 0], key.with(3, 2 ** 31)]) {
    t.throws(() => checkedTranslatorState({ flows: [{ ...flow, key: bad }] }, 2), /valid key/);
  }
});

test('a standby that refuses a state translates nothing', async (t) => {
  const rig = new TranslateRig();
  rig.out(tcpPacket({ flags: tcpFlag.syn | tcpFlag.ack }));
  t.throws(() => rig.next({ flows: [{}] } as unknown as TranslatorState), RangeError);
  t.throws(() => rig.translator.checkpoint(0, { flows: 1 } as unknown as TranslatorState), RangeError);
  t.equal(rig.translator.size, 0);
});

import { test } from 'tap';
import { AnsweringPair } from '../../support/answering-pair.ts';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { noTaps } from '../../support/taps.ts';

const skip = noKvm() || noTaps() || noEtcd();
/** Whoever is killed is noticed at once; a machine that is busy with copying is no dead one. */
const patient = ['--detection', '5000'];

test('a survivor that was compared is compared with its next standby, which takes over as well', {
  skip,
  timeout: 180_000,
}, async (t) => {
  const made = await AnsweringPair.make(t);
  const { pair, client } = made;
  const sides = {
    b: pair.seeking('b', ...made.card, ...patient),
    a: pair.primary(made.kernel, ...made.card, ...patient, '--mode', 'comparing', '--flow', 'port=1,policy=buffer'),
  };
  await pair.protected('a');
  made.meet();
  let number = 0;
  let last = 0;
  const ask = async (how: string): Promise<void> => {
    const count = await client.ask(how, ++number);
    t.ok(count > last, `answer ${count} comes after answer ${last}`);
    last = count;
  };
  for (let count = 0; count < 5; count++) await ask('s');
  await sides.a.endedBySignal('SIGKILL');
  await ask('s');
  sides.a = pair.seeking('a', ...made.card, ...patient);
  await pair.protected('b');
  made.meet();
  const { mode, flows, compared: before } = await pair.status('b', () => true);
  t.equal(mode, 'comparing');
  t.strictSame(flows, [{ port: 1, policy: 'buffer' }], 'but for what its primary did not compare');
  for (let count = 0; count < 5; count++) await ask('s');
  await ask('d');
  const { compared } = await pair.status('b', () => true);
  t.ok((compared?.released ?? 0) > (before?.released ?? 0), 'answers leave by comparison');
  await sides.b.endedBySignal('SIGKILL');
  await ask('s');
  t.match((await pair.status('a', ({ headline }) => headline === 'UNPROTECTED')).term, 3);
});

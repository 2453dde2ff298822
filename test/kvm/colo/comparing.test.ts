import { test } from 'tap';
import { protectAnswering } from '../../support/answering-pair.ts';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { noTaps } from '../../support/taps.ts';

const skip = noKvm() || noTaps() || noEtcd();
const comparing = ['--mode', 'comparing'];

test('answers that both guests give leave at once, and need no checkpoints', { skip }, async (t) => {
  const { pair, client } = await protectAnswering(t, comparing);
  const before = await pair.status('a', () => true);
  t.equal(before.mode, 'comparing');
  // Its guest runs already, but for the moments of a checkpoint.
  await pair.status('b', ({ mode, failover }) => mode === 'comparing' && failover?.loadMs === 0);
  const answers = 200;
  let last = 0;
  for (let number = 1; number <= answers; number++) {
    const count = await client.ask('s', number);
    t.ok(count > last, 'answers are counted on');
    last = count;
  }
  const { compared, mode } = await pair.status('a', () => true);
  if (compared === undefined) throw new Error('nothing is compared');
  t.equal(mode, 'comparing');
  t.ok(compared.released >= answers, `${compared.released} were released by comparison`);
  t.ok(compared.checkpoints < answers / 4, `${compared.checkpoints} checkpoints`);
  t.comment(JSON.stringify(compared));
});

test('answers on which the guests do not agree leave with a checkpoint', { skip }, async (t) => {
  const { pair, client } = await protectAnswering(t, comparing);
  for (let number = 1; number <= 3; number++) await client.ask('d', number);
  const { compared } = await pair.status('a', () => true);
  if (compared === undefined) throw new Error('nothing is compared');
  t.ok(compared.divergences >= 3, `${compared.divergences} times they did not agree`);
  const [{ what = '', cause = '' } = {}] = compared.recent;
  t.match(what, /^udp 198\.18\.71\.2:7 - 198\.18\.71\.1:\d+, byte \d+ of what the guest said: "/);
  t.match(cause, /guests/);
  for (let number = 4; number <= 10; number++) await client.ask('s', number);
  const after = await pair.status('a', () => true);
  t.comment(JSON.stringify(after.compared));
});

test('a guest that never agrees is buffered soon, and answers all the same', { skip }, async (t) => {
  const { pair, client } = await protectAnswering(t, comparing);
  let number = 0;
  let status = await pair.status('a', () => true);
  while (status.mode === 'comparing') {
    for (let left = 10; left > 0; left--) await client.ask('d', ++number);
    status = await pair.status('a', () => true);
  }
  t.match(status.modeWhy, /did not agree/);
  await client.ask('d', ++number);
});

test('a guest that was compared goes on at its standby, with all that its clients were told', { skip }, async (t) => {
  const { pair, client, primary, standby } = await protectAnswering(t, comparing);
  let last = 0;
  for (let number = 1; number <= 50; number++) last = await client.ask(number === 20 ? 'd' : 's', number);
  await primary.endedBySignal('SIGKILL');
  const count = await client.ask('s', 51);
  t.ok(count > last, `answer ${count} comes after answer ${last}`);
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  t.match(standby.stderr, 'its guest runs already');
  for (let number = 52; number <= 60; number++) await client.ask('s', number);
});

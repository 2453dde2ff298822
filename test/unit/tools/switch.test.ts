import t from 'tap';
import { chosenLinks, deadLink, goodLink, hostMac } from '../../../tools/lab/network.ts';
import { Switch } from '../../../tools/lab/switch.ts';

/** An Ethernet header between two hosts of the lab, `length` bytes in all. */
function frame(from: number, to: number | 'all', length = 60): Buffer {
  const bytes = Buffer.alloc(length);
  const mac = (index: number) => Buffer.from(hostMac(index).replaceAll(':', ''), 'hex');
  bytes.set(to === 'all' ? Buffer.alloc(6, 0xff) : mac(to), 0);
  bytes.set(mac(from), 6);
  return bytes;
}

const never = () => 1;
const portsOf = (deliveries: readonly { port: number }[]) => deliveries.map(({ port }) => port);

t.test('a frame to nobody known goes everywhere but back', async (t) => {
  t.same(portsOf(new Switch(3, never).forward(0, frame(0, 1), 0)), [1, 2]);
});

t.test('a frame to a card seen before goes there only', async (t) => {
  const frames = new Switch(3, never);
  frames.forward(1, frame(1, 'all'), 0);
  t.same(portsOf(frames.forward(0, frame(0, 1), 0)), [1]);
});

t.test('a card that moved is found where it was seen last', async (t) => {
  const frames = new Switch(3, never);
  frames.forward(1, frame(9, 'all'), 0);
  frames.forward(2, frame(9, 'all'), 0);
  t.same(portsOf(frames.forward(0, frame(0, 9), 0)), [2]);
});

t.test('a link that is cut one way still carries the other', async (t) => {
  const frames = new Switch(2, () => 0.5);
  frames.setCondition(0, 1, deadLink);
  t.same(portsOf(frames.forward(0, frame(0, 'all'), 0)), []);
  t.same(portsOf(frames.forward(1, frame(1, 'all'), 0)), [0]);
  frames.setCondition(0, 1, goodLink);
  t.same(portsOf(frames.forward(0, frame(0, 'all'), 0)), [1]);
});

t.test('a delay that shrinks lets no frame overtake another', async (t) => {
  const frames = new Switch(2, never);
  frames.setCondition(0, 1, { ...goodLink, delayMs: 50 });
  t.same(frames.forward(0, frame(0, 'all'), 100), [{ port: 1, atMs: 150 }]);
  frames.setCondition(0, 1, goodLink);
  t.same(frames.forward(0, frame(0, 'all'), 101), [{ port: 1, atMs: 150 }]);
  t.same(frames.forward(0, frame(0, 'all'), 151), [{ port: 1, atMs: 151 }]);
});

t.test('a slow link sends one frame after the other and drops what would wait too long', async (t) => {
  const frames = new Switch(2, never);
  frames.setCondition(0, 1, { ...goodLink, bytesPerSecond: 10_000 });
  const sent = Array.from({ length: 20 }, () => frames.forward(0, frame(0, 'all', 1000), 0)[0]?.atMs);
  t.same(sent.slice(0, 3), [100, 200, 300]);
  t.equal(sent.at(-1), undefined);
});

t.test('loss takes its part', async (t) => {
  let turn = 0;
  const frames = new Switch(2, () => (turn++ % 10) / 10);
  frames.setCondition(0, 1, { ...goodLink, loss: 0.3 });
  const arrived = Array.from({ length: 100 }, () => frames.forward(0, frame(0, 'all'), 0)).flat();
  t.equal(arrived.length, 70);
});

t.test('a link is chosen by the names of its ends', async (t) => {
  const names = ['host1', 'host2', 'host3'];
  t.same(chosenLinks({ from: 'host1', to: 'host2' }, names), [
    [0, 1],
    [1, 0],
  ]);
  t.same(chosenLinks({ from: 'host1', to: 'host2', oneWay: true }, names), [[0, 1]]);
  t.equal(chosenLinks({ from: 'host1' }, names).length, 4);
  t.equal(chosenLinks(undefined, names).length, 6);
  t.throws(() => chosenLinks({ from: 'host9' }, names), /no host of this lab is called "host9"/);
});

t.test('who speaks as a watched card is told at the first word, and whenever it is another one', async (t) => {
  const frames = new Switch(3, never);
  t.notOk(frames.isNewSpeaker(0, frame(0, 1)), 'nobody is watched');
  frames.watch(hostMac(9));
  t.notOk(frames.isNewSpeaker(0, frame(0, 'all')), 'another card');
  t.notOk(frames.isNewSpeaker(0, frame(0, 9)), 'spoken to, not speaking');
  t.notOk(frames.isNewSpeaker(0, Buffer.alloc(8)), 'no frame');
  t.ok(frames.isNewSpeaker(0, frame(9, 1)));
  t.notOk(frames.isNewSpeaker(0, frame(9, 'all')), 'the same one again');
  t.ok(frames.isNewSpeaker(1, frame(9, 'all')));
  t.ok(frames.isNewSpeaker(0, frame(9, 'all')), 'the first one again');
  frames.watch(hostMac(9));
  t.ok(frames.isNewSpeaker(0, frame(9, 'all')), 'watched anew');
});

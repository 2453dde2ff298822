import { test } from 'tap';
import { mostAhead, Stream, synKind } from '../../../../src/colo/compare/stream.ts';

/** All that is known of a connection. */
const known = (stream: Stream): Partial<Stream> => ({ ...stream });

/** A connection of which both sides said different things, with every field at a value of its own. */
function lively(): Stream {
  return Object.assign(new Stream(), {
    primarySyn: synKind.open,
    primaryIsn: 1000,
    secondarySyn: synKind.answer,
    secondaryIsn: 2000,
    primaryShape: 11,
    secondaryShape: 12,
    isBased: true,
    verified: 1100,
    left: 1050,
    primaryEnd: 1200,
    hasFloor: true,
    floor: 1001,
    hasPrimaryAck: true,
    primaryAck: 501,
    hasSecondaryAck: true,
    secondaryAck: 502,
    hasPrimaryFin: true,
    primaryFin: 1199,
    hasSecondaryFin: true,
    secondaryFin: 1198,
    primaryReset: true,
    secondaryReset: true,
    refusalCount: 1,
    isOpen: true,
    nextSyn: synKind.open,
    nextHandle: 7,
    nextIsn: 3000,
    nextShape: 13,
    hasNextAck: true,
    nextAck: 504,
  });
}

/** Fields that say whether others mean something. */
const flags = [
  'primarySyn',
  'secondarySyn',
  'isBased',
  'hasFloor',
  'hasPrimaryAck',
  'hasSecondaryAck',
  'hasPrimaryFin',
  'hasSecondaryFin',
  'primaryReset',
  'secondaryReset',
  'refusalCount',
  'isOpen',
  'nextSyn',
  'hasNextAck',
] as const;

test('nothing is known of a connection at first, and after a reset', async (t) => {
  const fresh = new Stream();
  const used = lively();
  used.reset();
  for (const flag of flags) {
    t.notOk(fresh[flag], flag);
    t.notOk(used[flag], `${flag} after a reset`);
  }
});

test('of S alone nothing is known when it is gone, and all that P said stays', async (t) => {
  const stream = lively();
  stream.resetSecondary();
  t.strictSame(known(stream), {
    ...known(lively()),
    secondarySyn: 0,
    hasSecondaryAck: false,
    hasSecondaryFin: false,
    secondaryReset: false,
  });
});

test('is new until P said something, whatever S said', async (t) => {
  const stream = new Stream();
  t.equal(stream.isNew, true);
  stream.secondaryAcknowledged(5);
  t.equal(stream.isNew, true);
  for (const said of [
    { primarySyn: synKind.answer },
    { isBased: true },
    { hasPrimaryAck: true },
    { primaryReset: true },
  ]) {
    const stream: Stream = new Stream();
    Object.assign(stream, said);
    t.equal(stream.isNew, false);
  }
});

test('at a checkpoint S has said what P has said, and nothing else', async (t) => {
  const stream = lively();
  stream.rebase();
  t.strictSame(known(stream), {
    ...known(lively()),
    hasFloor: false,
    verified: 1200,
    left: 1200,
    secondarySyn: synKind.open,
    secondaryIsn: 1000,
    secondaryShape: 11,
    secondaryAck: 501,
    secondaryFin: 1199,
    refusalCount: 0,
    isOpen: false,
    nextSyn: 0,
    hasNextAck: false,
  });
  const silent = Object.assign(lively(), {
    primarySyn: 0,
    hasPrimaryAck: false,
    hasPrimaryFin: false,
    primaryReset: false,
  });
  silent.rebase();
  t.match(silent, { secondarySyn: 0, hasSecondaryAck: false, hasSecondaryFin: false, secondaryReset: false });
  t.equal(silent.isOpen, true, 'a connection that was not reset stays open');
});

test('what P said before a checkpoint S said too, and what it has said since stays said', async (t) => {
  const stream = lively();
  stream.cover();
  t.strictSame(known(stream), {
    ...known(lively()),
    verified: 1200,
    left: 1200,
    hasFloor: false,
    secondarySyn: synKind.open | synKind.answer,
    secondaryShape: 11,
    secondaryFin: 1199,
    isOpen: false,
  });

  const ahead = Object.assign(lively(), { verified: 1300, secondarySyn: 0, hasSecondaryFin: false });
  Object.assign(ahead, { secondaryReset: false, secondaryAck: 500 });
  ahead.cover();
  t.match(ahead, {
    verified: 1300,
    left: 1200,
    secondarySyn: synKind.open,
    secondaryIsn: 1000,
    secondaryAck: 501,
    hasSecondaryFin: true,
    secondaryFin: 1199,
    secondaryReset: true,
  });

  const quiet = Object.assign(lively(), { hasPrimaryAck: false, hasPrimaryFin: false, primaryReset: false });
  Object.assign(quiet, { hasSecondaryAck: false, hasSecondaryFin: false, secondaryReset: false });
  quiet.cover();
  t.match(quiet, { hasSecondaryAck: false, secondaryAck: 502, hasSecondaryFin: false, secondaryReset: false });
});

test('begins in the midst of a connection with the first byte that is known', async (t) => {
  const stream = new Stream();
  stream.baseAt(-7);
  t.match(stream, { isBased: true, isOpen: true, hasFloor: true, floor: -7, verified: -7, left: -7, primaryEnd: -7 });
  t.equal(stream.isNew, false);
});

test('begins with a SYN, which takes a number and has not left yet', async (t) => {
  const stream = Object.assign(new Stream(), { hasFloor: true });
  stream.begin(synKind.answer, 0x7fff_ffff, 5);
  t.match(stream, {
    primarySyn: synKind.answer,
    primaryIsn: 0x7fff_ffff,
    primaryShape: 5,
    isBased: true,
    isOpen: true,
    hasFloor: false,
    verified: -0x8000_0000,
    primaryEnd: -0x8000_0000,
    left: 0x7fff_ffff,
  });
});

test('P has said what is furthest, unless that is further than any window', async (t) => {
  const stream = new Stream();
  stream.baseAt(100);
  const ends = [99, 100, 101, 50, 101 + mostAhead, 100 + mostAhead, 101];
  const seen = ends.map((end) => {
    stream.primarySaid(end);
    return stream.primaryEnd;
  });
  t.strictSame(seen, [100, 100, 101, 101, 101, 100 + mostAhead, 100 + mostAhead]);
  stream.baseAt(0x7fff_fff0);
  stream.primarySaid(-0x8000_0000 + 5);
  t.equal(stream.primaryEnd, -0x8000_0000 + 5, 'numbers go round');
});

test('no number lies before the SYN, or before what is known, of a stream that has gone further than any window', async (t) => {
  const begun = new Stream();
  begun.begin(synKind.answer, -10, 0);
  const midway = new Stream();
  midway.baseAt(-9);
  for (let said = 0; said < 2 ** 32; said += 2 ** 28) {
    const end = (-9 + said) | 0;
    for (const stream of [begun, midway]) stream.primarySaid(end);
    t.equal(begun.isBeforeSyn(end), false, `${said} bytes into it`);
    t.equal(begun.isBeforeSyn(-11), said < mostAhead, 'what is before the SYN, as long as it can be');
    t.equal(midway.hasFloor, said < mostAhead);
  }
  begun.begin(synKind.answer, 1000, 0);
  t.equal(begun.isBeforeSyn(999), true, 'another connection');
});

test('S has refused the last few numbers, each of them once', async (t) => {
  const stream = new Stream();
  t.equal(stream.hasRefused(0), false);
  for (const number of [1, 2, 2, 1, 3, 4]) stream.secondaryRefused(number);
  t.strictSame(
    [1, 2, 3, 4, 5].filter((number) => stream.hasRefused(number)),
    [1, 2, 3, 4],
  );
  stream.secondaryRefused(5);
  t.strictSame(
    [1, 2, 3, 4, 5].filter((number) => stream.hasRefused(number)),
    [2, 3, 4, 5],
  );
  stream.primaryReset = true;
  stream.secondaryReset = true;
  stream.primaryGoesOn();
  t.match([stream.primaryReset, stream.secondaryReset, stream.hasRefused(5)], [false, false, false]);
});

for (const [who, acknowledge, read] of [
  ['P', 'primaryAcknowledged', (s: Stream) => [s.hasPrimaryAck, s.primaryAck]],
  ['S', 'secondaryAcknowledged', (s: Stream) => [s.hasSecondaryAck, s.secondaryAck]],
] as const) {
  test(`${who} has acknowledged what is furthest, round the end of numbers too`, async (t) => {
    const stream = new Stream();
    const seen = [0x7fff_fffe, 0x7fff_fff0, 0x7fff_ffff, -0x8000_0000, 0x7fff_ffff].map((number) => {
      stream[acknowledge](number);
      return read(stream);
    });
    t.strictSame(seen, [
      [true, 0x7fff_fffe],
      [true, 0x7fff_fffe],
      [true, 0x7fff_ffff],
      [true, -0x8000_0000],
      [true, -0x8000_0000],
    ]);
    const other = new Stream();
    other[acknowledge](-5);
    t.strictSame(read(other), [true, -5], 'the first one, wherever it is');
  });
}

import { test } from 'tap';
import { type SentChange, SyncRaces } from '../../../../src/colo/disk/sync-races.ts';
import { comparedBlockBytes as block } from '../../../../src/colo/protocol/messages.ts';

class Change implements SentChange {
  done = false;
  readonly disk: number;
  readonly first: number;
  readonly end: number;

  constructor(first: number, end: number, disk = 0) {
    this.disk = disk;
    this.first = first;
    this.end = end;
  }

  readonly isDone = (): boolean => this.done;
}

test('a block may be sent if all that was sent before was on the disk when it was read', async (t) => {
  const races = new SyncRaces();
  const early = new Change(0, 512);
  early.done = true;
  races.sent(early);
  const read = races.begin(0, 0, 4 * block);
  t.strictSame(
    [0, 1, 2, 3].map((index) => read.maySend(index)),
    [true, true, true, true],
  );
});

test('a change that is not on the disk when the read begins spoils the blocks that it touches', async (t) => {
  const races = new SyncRaces();
  const change = new Change(block - 512, block + 512);
  races.sent(change);
  const read = races.begin(0, 0, 4 * block);
  change.done = true;
  t.strictSame(
    [0, 1, 2, 3].map((index) => read.maySend(index)),
    [false, false, true, true],
    'even if it is done meanwhile',
  );
  t.equal(races.begin(0, 0, block).maySend(0), true, 'the next read has it');
});

test('a change that is sent after the read began spoils it, done or not', async (t) => {
  const races = new SyncRaces();
  const read = races.begin(0, 2 * block, 2 * block);
  const change = new Change(3 * block, 3 * block + 512);
  change.done = true;
  races.sent(change);
  t.strictSame(
    [0, 1].map((index) => read.maySend(index)),
    [true, false],
  );
  races.end(read);
  races.sent(new Change(2 * block, 2 * block + 512));
  t.equal(read.maySend(0), true, 'but not once it is over');
});

test('changes elsewhere spoil nothing', async (t) => {
  const races = new SyncRaces();
  races.sent(new Change(0, block, 1));
  races.sent(new Change(block, 2 * block));
  races.sent(new Change(4 * block, 5 * block));
  const read = races.begin(0, 2 * block, 2 * block);
  t.strictSame(
    [0, 1].map((index) => read.maySend(index)),
    [true, true],
  );
  t.equal(read.maySend(2), false, 'there is no such block');
});

test('a change is pending until it is on the disk', async (t) => {
  const races = new SyncRaces();
  const change = new Change(block, block + 512);
  races.sent(change);
  t.equal(races.isPending(0, 0, block), false);
  t.equal(races.isPending(0, block, block), true);
  t.equal(races.isPending(1, block, block), false);
  change.done = true;
  t.equal(races.isPending(0, block, block), false);
});

test('what is done is forgotten, oldest first', async (t) => {
  const races = new SyncRaces();
  const [one, other] = [new Change(0, 512), new Change(512, 1024)];
  races.sent(one);
  races.sent(other);
  one.done = true;
  races.forget();
  // Its words may be another's by now.
  one.done = false;
  t.equal(races.isPending(0, 0, 512), false);
  t.equal(races.isPending(0, 512, 512), true);
});

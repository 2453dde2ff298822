import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { TermStore } from '../../../../src/colo/side/term-store.ts';

test('a term that was written is there for the next process', async (t) => {
  const folder = join(t.testdir(), 'state');
  const store = new TermStore(folder);
  t.equal(store.term, 0);
  await store.write(3);
  t.equal(store.term, 3);
  t.equal(new TermStore(folder).term, 3);
  t.strictSame(readdirSync(folder), ['term.json']);
});

test('writes come one after the other, and the last one stays', async (t) => {
  const folder = t.testdir();
  const store = new TermStore(folder);
  await Promise.all([store.write(1), store.write(2), store.write(3)]);
  t.equal(new TermStore(folder).term, 3);
});

test('a file that holds no term is named, with what to do', (t) => {
  const folder = t.testdir();
  for (const text of [
    '',
    '{"term": -1}',
    '{"term": "7"}',
    'null',
    '{"term": 1, "askers": "us"}',
    '{"term": 1, "askers": [7]}',
  ]) {
    writeFileSync(join(folder, 'term.json'), text);
    t.throws(
      () => new TermStore(folder),
      { code: 'CONFIG', message: /--state .*term\.json does not hold.*remove it/ },
      text,
    );
  }
  t.end();
});

test('a write that fails is told, and the term stays what it was', async (t) => {
  const folder = t.testdir();
  const store = new TermStore(folder);
  await store.write(1);
  // A folder where the partial file is to be: root writes through permissions.
  t.testdir({ 'term.json.new': {}, 'term.json': '{"term":1}' });
  await t.rejects(store.write(2), { code: 'EISDIR' });
  t.equal(store.term, 1);
  t.equal(new TermStore(folder).term, 1);
});

test('a proof that a term could be written changes nothing, and fails where a term could not be written', async (t) => {
  const folder = t.testdir();
  const store = new TermStore(folder);
  const written = store.giveAway(4);
  await store.prove();
  await written;
  const next = new TermStore(folder);
  t.strictSame([next.term, next.isElsewhere], [4, true], 'in its turn');
  t.testdir({ 'term.json.new': {}, 'term.json': '{"term":4}' });
  await t.rejects(store.prove(), { code: 'EISDIR' });
});

test('that the guest was handed over stays known until there is a later term', async (t) => {
  const folder = t.testdir();
  const store = new TermStore(folder);
  await store.giveAway(4);
  t.ok(store.isElsewhere);
  const next = new TermStore(folder);
  t.equal(next.term, 4);
  t.ok(next.isElsewhere);
  await next.write(5);
  t.notOk(new TermStore(folder).isElsewhere);
});

test('who asks for a term is known to the next process, until a term is written, whoever it is of', async (t) => {
  const folder = t.testdir({ 'term.json': '{"term":4}' });
  const store = new TermStore(folder);
  t.strictSame(store.askers, [], 'nobody, in a file of before');
  await store.asks('first');
  await store.asks('second');
  await store.asks('first');
  await store.prove();
  const next = new TermStore(folder);
  t.strictSame([next.term, next.askers], [4, ['second', 'first']], 'each once, whoever asked last at the end');
  await next.write(5);
  t.strictSame([next.askers, new TermStore(folder).askers], [[], []]);
  await next.asks('third');
  await next.giveAway(6);
  t.strictSame(new TermStore(folder).askers, []);
});

test('a start that another one came after is told so, and by a term as well', async (t) => {
  const folder = t.testdir();
  const [store, other] = [new TermStore(folder), new TermStore(folder)];
  await store.asks('us');
  t.ok(store.stillAsks('us'));
  await other.asks('them');
  t.notOk(store.stillAsks('us'));
  await store.asks('us');
  await other.write(1);
  t.notOk(store.stillAsks('us'));
  writeFileSync(store.path, 'nothing that anybody wrote');
  t.notOk(store.stillAsks('us'));
});

test('of those who asked the last thousand are known', async (t) => {
  const folder = t.testdir({
    'term.json': JSON.stringify({ term: 4, askers: Array.from({ length: 1000 }, (_, index) => `${index}`) }),
  });
  const store = new TermStore(folder);
  await store.asks('us');
  t.strictSame([store.askers.length, store.askers.at(0), store.askers.at(-1)], [1000, '1', 'us']);
});

import { test } from 'tap';
import { EventLog } from '../../../../src/colo/side/event-log.ts';
import type { ColoEvent } from '../../../../src/vmm/monitor/colo-control.ts';

test('frequent events are kept in order for who asks, and nobody is told of them', async (t) => {
  const told: ColoEvent[] = [];
  let now = 0;
  const log = new EventLog(
    () => ++now,
    (event) => told.push(event),
  );
  log.add('pair', 'connected');
  let asked = 0;
  log.addFrequent('message', () => {
    asked++;
    return '-> one\u001b[2J';
  });
  log.add('peer', 'gone', 'peer-lost');
  t.strictSame(
    told.map(({ text }) => text),
    ['connected', 'gone'],
  );
  t.equal(asked, 0, 'its words are made when they are read');
  const [, frequent] = log.recent(true);
  t.strictSame(
    log.recent(true).map(({ topic, monotonicMs }) => [topic, monotonicMs]),
    [
      ['pair', 1],
      ['message', 2],
      ['peer', 3],
    ],
  );
  t.notMatch(frequent?.text, '\u001b', 'and are printable');
  t.equal(log.recent(false).length, 2);
  t.strictSame(log.milestones, { 'peer-lost': 1 });
});

test('what was inherited stands before what is new, and only so much is kept', async (t) => {
  let now = 100;
  const log = new EventLog(
    () => ++now,
    () => {},
  );
  log.inherit([
    { at: 1, monotonicMs: 1, topic: 'protection', text: 'PROTECTED', event: 'protected' },
    { at: 2, monotonicMs: 2, topic: 'checkpoint', text: '7: output' },
  ]);
  t.strictSame(
    log.recent(true).map(({ text }) => text),
    ['PROTECTED', '7: output'],
  );
  t.strictSame(log.milestones, { protected: 1 });
  for (let number = 0; number < 1500; number++) log.addFrequent('message', () => `${number}`);
  const texts = log.recent(true).map(({ text }) => text);
  t.equal(texts.length, 1001);
  t.equal(texts.at(-1), '1499');
});

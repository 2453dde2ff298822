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
  log.inherit({
    events: [
      { at: 1, monotonicMs: 1, topic: 'protection', text: 'PROTECTED', event: 'protected' },
      { at: 2, monotonicMs: 2, topic: 'checkpoint', text: '7: output' },
    ],
    milestones: { protected: 2, fenced: 1 },
  });
  t.strictSame(
    log.recent(true).map(({ text }) => text),
    ['PROTECTED', '7: output'],
  );
  log.add('protection', 'PROTECTED again', 'protected');
  t.strictSame(log.milestones, { protected: 3, fenced: 1 }, 'with those whose lines are forgotten');
  t.strictSame(log.past, { events: log.recent(true), milestones: log.milestones });
  for (let number = 0; number < 1500; number++) log.addFrequent('message', () => `${number}`);
  const texts = log.recent(true).map(({ text }) => text);
  t.equal(texts.length, 1002);
  t.equal(texts.at(-1), '1499');
});

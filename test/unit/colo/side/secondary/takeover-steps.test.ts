import t, { test } from 'tap';
import { epoch } from '../../../../../src/colo/protocol/numbers.ts';
import { EventLog } from '../../../../../src/colo/side/event-log.ts';
import { Lane } from '../../../../../src/colo/side/lane.ts';
import type { Attachment } from '../../../../../src/colo/side/secondary/attachment.ts';
import { TakeoverSteps, type TakingOver } from '../../../../../src/colo/side/secondary/takeover-steps.ts';

/** A standby whose guest runs beside the primary's takes over. What is done, in order. */
async function taken(refusals: Readonly<Record<string, string>>, forget: () => Promise<void> = async () => {}) {
  const done: string[] = [];
  const milestones: (string | undefined)[] = [];
  const becomes: string[] = [];
  const step = async (name: string): Promise<void> => void done.push(name);
  const attachment = {
    disks: { laidDown: () => step('disks laid down'), handOver: () => step('disks handed over') },
    packets: { sendKept: async () => 3 },
    own: { facts: { flows: 0 }, close: () => {}, speak: async () => 2 },
    ran: true,
    changes: { shared: 'the log' },
  };
  const failures: Error[] = [];
  const lane = new Lane((error) => failures.push(error));
  const side = {
    calls: {
      call: async (name: string) => {
        done.push(name);
        const refusal = refusals[name];
        if (refusal !== undefined) throw new Error(refusal);
        return name === 'hold' ? { exitCode: undefined } : 0;
      },
    },
    lane,
    log: new EventLog(
      () => 0,
      ({ text, event }) => {
        done.push(`log: ${text}`);
        milestones.push(event);
      },
    ),
    history: {
      forget: () => {
        done.push('forgotten');
        return forget();
      },
    },
    attached: () => attachment as unknown as Attachment,
    post: () => {},
    become: (why: string) => void becomes.push(why),
    speaks: () => {},
  };
  const steps = new TakeoverSteps(side as unknown as TakingOver);
  steps.hold();
  steps.emerge();
  while (!lane.isIdle) await new Promise((resolve) => setTimeout(resolve, 5));
  t.strictSame(failures, []);
  return { done, changes: attachment.changes, milestones, becomes, steps, lane };
}

test('what a guest that ran beside the other one wrote is marked once it stands, and before it goes to its disks', async (t) => {
  const { done, changes, milestones, becomes } = await taken({});
  t.strictSame([milestones, becomes], [[undefined], []], 'no program is told of a step');
  t.strictSame(done, [
    'hold',
    'disks laid down',
    'disks handed over',
    'keepChanges',
    'log: its guest runs already',
    'emerge',
  ]);
  t.strictSame(changes, { shared: 'the log' }, 'whoever protects it next knows of the log');
});

test('packets that clients may get twice are counted: those kept of the other guest, and what its own has said', async (t) => {
  const { done, steps, lane } = await taken({});
  t.equal(steps.sentAgain, 0);
  steps.sendKept(epoch(7));
  await lane.done;
  t.equal(done.at(-1), 'log: 5 kept packets sent');
  t.equal(steps.sentAgain, 5);
});

test('where that cannot be marked, what was known of the disks is forgotten before', async (t) => {
  const { done, changes } = await taken({ keepChanges: 'the activity log cannot be written: EIO' });
  t.strictSame(done, [
    ...['hold', 'disks laid down', 'disks handed over', 'keepChanges'],
    'log: it will not be known what this side writes: the activity log cannot be written: EIO',
    ...['forgotten', 'log: its guest runs already', 'emerge'],
  ]);
  t.equal(changes, undefined);
});

test('a disk that hangs while that is forgotten keeps no takeover waiting', async (t) => {
  const { done } = await taken({ keepChanges: 'the activity log is not written in time' }, () => new Promise(() => {}));
  t.equal(done.at(-1), 'emerge');
});

test('a takeover that fails tells programs, before this side ends', async (t) => {
  const { done, milestones, becomes } = await taken({ emerge: 'a card refuses its packets' });
  const why = 'the takeover failed, and this side ends: a card refuses its packets';
  t.strictSame(done.slice(-3), ['emerge', `log: ${why}`, 'exit']);
  t.equal(milestones.at(-1), 'fenced');
  t.strictSame(becomes, [why]);
});

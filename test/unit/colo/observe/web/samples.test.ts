import { test } from 'tap';
import type { Heard } from '../../../../../src/colo/observe/web/machine-watch.ts';
import { Samples } from '../../../../../src/colo/observe/web/samples.ts';
import type { MachineStatus } from '../../../../../src/vmm/client/machine-status.ts';
import type { ColoStatus } from '../../../../../src/vmm/monitor/colo-control.ts';
import { protectedStatus } from '../../../../support/fake-colo.ts';

const machine: MachineStatus = {
  ...{ state: 'running', pid: 1, uptimeSeconds: 1, cpus: 1, memoryBytes: 1, clockBehindMs: 0, control: '/c' },
  ...{ disks: [], cards: [] },
};

function heard(at: number, colo?: Partial<ColoStatus>): Heard {
  return { at, status: { ...machine, ...(colo === undefined ? {} : { colo: { ...protectedStatus, ...colo } }) } };
}

test('a sample has what status says, and what it does not say is null', async (t) => {
  const samples = new Samples();
  samples.add(heard(5000, {}));
  const { held: _held, stops: _stops, ...less } = protectedStatus;
  samples.add({ at: 6000, status: { ...machine, colo: less } });
  t.match(samples.since(0), {
    at: [5, 6],
    ageMs: [180, 180],
    worstMs: [2.1, null],
    heldPackets: [2, null],
    logBytes: [98_304, 98_304],
    arbiterMs: [3, 3],
    silenceMs: [12, 12],
    syncSentBytes: [null, null],
  });
});

test("a stop's parts are those that a person can tell apart, and together all of it", async (t) => {
  const samples = new Samples();
  const parts = { vcpus: 1, io: 2, registers: 4, clocks: 8, collect: 16, copy: 32, resume: 64, newest: 128 };
  samples.add(heard(1, { stops: { median: 1, worst: 1, count: 1, pages: 1, parts } }));
  t.match(samples.since(0), { pauseMs: [3], stateMs: [140], pagesMs: [48], resumeMs: [64] });
});

test('what only grows is shown by how fast; where it begins anew nothing is said', async (t) => {
  const samples = new Samples();
  for (const [at, checkpoints] of [
    [1000, 10],
    [3000, 16],
    [4000, 0],
    [5000, 1],
  ] as const) {
    samples.add(heard(at, { totals: { checkpoints } }));
  }
  t.strictSame(samples.since(0).checkpoints, [null, 3, null, 1]);
});

test('after a look that found nothing no rate is made up', async (t) => {
  const samples = new Samples();
  samples.add(heard(1000, { totals: { checkpoints: 10 } }));
  samples.add({ at: 2000, problem: 'it hangs' });
  samples.add(heard(3000, { totals: { checkpoints: 90 } }));
  t.strictSame(samples.since(0).checkpoints, [null, null, null]);
});

test('each state has its number', async (t) => {
  const samples = new Samples();
  samples.add(heard(1, { headline: 'PROTECTED' }));
  samples.add(heard(2));
  samples.add({ at: 3, problem: 'it hangs' });
  samples.add({ at: 4, status: { ...machine, coloUnknown: 'it hangs' } });
  t.strictSame(samples.since(0).word, [0, 9, 10, 10]);
});

test('the oldest samples make room, and only those that are new are given', async (t) => {
  const samples = new Samples(4);
  for (let second = 1; second <= 6; second++) samples.add(heard(second * 1000));
  t.equal(samples.next, 6);
  t.strictSame(samples.since(4).at, [5, 6]);
  t.strictSame(samples.since(6).at, []);
});

for (const number of [0, 1, 7, -1, 2.5, Number.NaN, Number.POSITIVE_INFINITY]) {
  test(`whoever asks from ${number} on, which is no sample, gets all that there are`, async (t) => {
    const samples = new Samples(4);
    for (let second = 1; second <= 6; second++) samples.add(heard(second * 1000));
    t.strictSame(samples.since(number).at, [3, 4, 5, 6]);
  });
}

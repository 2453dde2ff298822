import t from 'tap';
import { type PausePart, pauseParts } from '../../../../src/vmm/vmstate/pause-times.ts';
import {
  formatPauses,
  type LabFigures,
  type Pause,
  type PauseParts,
  partNames,
  pauseOf,
  pauseResult,
  pauseRow,
} from '../../../../tools/bench/pause-report.ts';

const parts = (value: number): PauseParts =>
  Object.fromEntries(partNames.map((name) => [name, value])) as unknown as PauseParts;

const detail = (value: number): Record<PausePart, number> =>
  Object.fromEntries(pauseParts.map((part) => [part, value])) as Record<PausePart, number>;

const pause = (totalMs: number, wakeMs = 0): Pause => ({
  parts: parts(totalMs / 10),
  detail: detail(totalMs / 20),
  totalMs,
  wakeMs,
});

const rest = { loads: [3, 1, 2], garbageBytes: 5120 };

const qmp = (ms: number) => ({ stopMs: [ms, ms, ms], contMs: [ms, ms, 100 * ms], savingMs: ms, downtimeMs: ms });

const figures: LabFigures = {
  qmp: { ours: qmp(1), microvm: qmp(2), pc: qmp(3) },
  restoreMs: { ours: [100, 110, 300], microvm: [800, 1100, 1000], pc: [400, 1100, 500] },
  host: 'emulated',
};

t.test('a pause is the sum of its parts, and what is left of the time is the waking', async (t) => {
  const found = pauseOf((part) => (part === 'collect' ? 1 : 0.25), 5);
  t.match(found, { totalMs: 3, wakeMs: 2, detail: { io: 0.25, collect: 1 } });
  t.strictSame(found.parts, { stop: 0.75, state: 0.75, collect: 1, copy: 0.25, resume: 0.25 });
});

t.test('a row has the medians of its pauses, and the best of them', async (t) => {
  const row = pauseRow({ vcpus: 1, pages: 100, where: 'native' }, [pause(30, 1), pause(0.5, 2), pause(2, 9)], rest);
  t.strictSame(row, {
    vcpus: 1,
    pages: 100,
    where: 'native',
    parts_ms: parts(0.2),
    detail_ms: detail(0.1),
    total_ms: 2,
    least_ms: 0.5,
    wake_ms: 2,
    limit_ms: null,
    load_ms: 2,
    least_load_ms: 1,
    garbage_kib: 5,
  });
});

t.test('a limit stands only where one is promised: one vCPU, natively', async (t) => {
  const limit = (vcpus: number, pages: number, where: 'native' | 'lab'): number | null =>
    pauseRow({ vcpus, pages, where }, [pause(1)], rest).limit_ms;
  t.equal(limit(1, 0, 'native'), 0.3);
  t.equal(limit(1, 10_000, 'native'), 5.2);
  t.equal(limit(4, 0, 'native'), null);
  t.equal(limit(1, 0, 'lab'), null);
});

t.test('a restore is compared with the faster QEMU, round by round', async (t) => {
  const result = pauseResult([], figures);
  t.match(result, { bench: 'pause', rounds: 3, host: 'emulated', restore_ms: 110, qemu_restore_ms: 500 });
  t.equal(result.ratio_restore, 0.25, 'of 100/400, 110/1100, 300/500 the one in the middle');
  t.strictSame(
    result.vmms.map(({ vmm, stop_ms, cont_ms, ratio_restore }) => [vmm, stop_ms, cont_ms, ratio_restore]),
    [
      ['ours', 1, 1, 1],
      ['microvm', 2, 2, 0.125],
      ['pc', 3, 3, 0.25],
    ],
  );
});

t.test('a pause in the lab is held against what the faster QEMU takes to stop and go on', async (t) => {
  const row = (vcpus: number, pages: number, where: 'native' | 'lab') =>
    pauseRow({ vcpus, pages, where }, [pause(3, 1)], rest);
  const rows = [row(1, 0, 'lab'), row(1, 1000, 'lab'), row(4, 100, 'lab'), row(1, 100, 'native')];
  t.strictSame(pauseResult(rows, figures).ratio_pause, { 0: 1, 1000: 1 }, '4 ms with waking, to 2 and 2 of microvm');
});

t.test('people get a line for each row, with each part, and what was wanted', async (t) => {
  const rows = [pauseRow({ vcpus: 1, pages: 1000, where: 'native' }, [pause(1.25)], rest)];
  const lines = formatPauses(pauseResult(rows, figures)).split('\n');
  const head = lines.find((line) => line.startsWith('where'))?.split(/ +/);
  const row = lines.find((line) => line.startsWith('native'))?.split(/ +/);
  t.strictSame(head, [
    'where',
    'vcpus',
    'pages',
    ...partNames,
    'total',
    'limit',
    'least',
    'wake',
    'load',
    'least',
    'KiB',
  ]);
  t.strictSame(row, [
    'native',
    '1',
    '1000',
    ...partNames.map(() => '0.125'),
    '1.25',
    '0.75',
    '1.25',
    '0',
    '2',
    '1',
    '5',
  ]);
  for (const vmm of ['ours', 'microvm', 'pc'])
    t.ok(
      lines.some((line) => line.startsWith(vmm)),
      vmm,
    );
  t.ok(lines.includes('restore: 110 ms, QEMU 500 ms, ratio 0.25, at most 0.333 wanted; 3 rounds'));
});

import { test } from 'tap';
import {
  formatService,
  type ServiceFigures,
  serviceFigures,
  serviceResult,
} from '../../../../../tools/bench/pair/service-report.ts';

const reading = { answers: 4, all: 10, seconds: 2, latencies: [1, 2, 3, 10], failures: [] };
const seen = (number: number, times: number, what: string) => ({ number, times, what });

test('checkpoints are counted for each 1,000 answers, with what they were for', async (t) => {
  const before = { count: 7, reasons: { output: 3, divergence: 4 } };
  const after = { count: 10, reasons: { output: 4, divergence: 4, delay: 2 } };
  t.same(serviceFigures('key-value', reading, before, after), {
    ...{ service: 'key-value', perSecond: 2, p50: 2.5, p99: 10, worst: 10, checkpoints: 300 },
    reasons: { delay: 2, output: 1 },
  });
  t.same(serviceFigures('key-value', reading), {
    ...{ service: 'key-value', perSecond: 2, p50: 2.5, p99: 10, worst: 10 },
  });
  t.equal(serviceFigures('key-value', { ...reading, answers: 0, latencies: [] }), undefined);
});

test('divergences of a row are those since it began, though they go on a kind of the row before', async (t) => {
  const of = (before: readonly ReturnType<typeof seen>[], after: readonly ReturnType<typeof seen>[]) =>
    serviceFigures('key-value', reading, { count: 1, divergences: before }, { count: 2, divergences: after })
      ?.divergences;
  t.same(of([], [seen(2, 2, 'a date')]), ['2 times: a date']);
  t.same(of([seen(2, 2, 'a date')], [seen(2, 2, 'a date')]), []);
  t.same(of([seen(2, 2, 'a date')], [seen(9, 3, 'a token'), seen(6, 6, 'a date')]), [
    '3 times: a token',
    '4 times: a date',
  ]);
});

test('of a transfer MiB are counted', async (t) => {
  t.match(serviceFigures('upload', { ...reading, answers: 256 }), { perSecond: 2 });
});

const row = (service: ServiceFigures['service'], perSecond: number, p99 = 10): ServiceFigures => ({
  ...{ service, perSecond, p50: 5, p99, worst: 20 },
});

test('ratios are held against what is wanted, and say what was not measured', async (t) => {
  const result = serviceResult(
    'emulated',
    {
      unprotected: [row('key-value', 100)],
      two: [row('key-value', 158)],
      comparing: [row('key-value', 79, 31), row('differing', 9)],
      buffered: [row('differing', 10)],
    },
    ['qemu: it never began'],
  );
  const met = new Map(result.ratios.map(({ name, ratio, met }) => [name, [ratio, met]] as const));
  t.same(met.get('key-value: comparing to unprotected'), [0.79, false]);
  t.same(met.get('key-value: comparing to two unprotected at once'), [0.5, false]);
  t.same(met.get('key-value: p99, comparing to unprotected'), [3.1, false]);
  t.same(met.get('key-value: comparing to QEMU'), [null, null]);
  t.same(met.get('page, keep-alive: comparing to unprotected'), [null, null]);
  t.same(met.get('differing: comparing to buffered'), [0.9, true]);
  t.same(met.get('upload: comparing to unprotected'), [null, null]);
  t.notOk(met.has('upload: p99, comparing to unprotected'));
  const text = formatService(result);
  t.match(text, /NO +key-value: comparing to unprotected +0\.79 +at least 0\.8/);
  t.match(text, 'qemu: it never began');
});

test('why checkpoints came stands below its row', async (t) => {
  const why = { checkpoints: 3, reasons: { divergence: 4, mode: 1 }, divergences: ['4 times: a date'] };
  const text = formatService(serviceResult('emulated', { comparing: [{ ...row('key-value', 79), ...why }] }, []));
  t.match(text, 'for: divergence 4, mode switch 1');
  t.match(text, '4 times: a date');
});

test("a comparing standby's memory is held against RAM and an idle VMM", async (t) => {
  const memory = { standbyMib: 271, unprotectedMib: 70, guestMib: 160 };
  const result = serviceResult('emulated', {}, [], memory);
  t.match(result.ratios.at(-1), { ratio: 1.256, met: false });
  t.match(formatService(result), 'standby 271 MiB, an unprotected VMM without guest RAM 70 MiB; RAM 160 MiB');
  t.match(serviceResult('emulated', {}, []).ratios.at(-1), { ratio: null, met: null });
});

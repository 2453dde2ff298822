import { test } from 'tap';
import {
  formatService,
  type ServiceFigures,
  serviceFigures,
  serviceResult,
} from '../../../../../tools/bench/pair/service-report.ts';

const reading = { answers: 4, all: 10, seconds: 2, latencies: [1, 2, 3, 10], failures: [] };
const seen = (at: number, times: number, what: string) => ({ at, times, what });

test('checkpoints are counted for each 1,000 answers, with what the guests did not agree on meanwhile', async (t) => {
  const before = { count: 7, divergences: [seen(100, 2, 'a date')] };
  const after = { count: 8, divergences: [seen(230, 3, 'a token'), seen(100, 2, 'a date')] };
  t.same(serviceFigures('key-value', reading, before, after), {
    ...{ service: 'key-value', perSecond: 2, p50: 2.5, p99: 10, worst: 10, checkpoints: 100 },
    reasons: ['3 times: a token'],
  });
  t.same(serviceFigures('key-value', reading), {
    ...{ service: 'key-value', perSecond: 2, p50: 2.5, p99: 10, worst: 10 },
  });
  t.equal(serviceFigures('key-value', { ...reading, answers: 0, latencies: [] }), undefined);
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
  const text = formatService(result);
  t.match(text, /NO +key-value: comparing to unprotected +0\.79 +at least 0\.8/);
  t.match(text, 'qemu: it never began');
});

import t from 'tap';
import { failoverResult, formatFailover } from '../../../../../tools/bench/pair/failover-report.ts';

t.test('takes medians and the worst, and a lost host by what its pair had promised', async (t) => {
  const result = failoverResult(
    'emulated',
    'comparing',
    {
      ours: [{ ms: 100 }, { ms: 300 }, { ms: 200 }],
      plaintext: [],
      lost: [
        { ms: 5000, promisedMs: 4700 },
        { ms: 5500, promisedMs: 4700 },
      ],
      switchover: [{ ms: 40 }, { ms: 60 }, { ms: 50 }],
      qemu: [{ ms: 600 }, { ms: 700 }, { ms: 1000 }],
    },
    [],
  );
  t.match(result.silences, {
    ours: { count: 3, p50: 200, p99: 300, worst: 300, all: [100, 300, 200] },
    plaintext: undefined,
  });
  t.strictSame(
    result.ratios.map(({ ratio, met }) => [ratio, met]),
    [
      [0.286, true],
      [0.3, true],
      [1.1, false],
    ],
  );
  t.match(formatFailover(result), /roles changed in order +p50 50, p99 60, worst 60, of 3/);
  t.match(formatFailover(result), /ours, process killed +p50 200, p99 300, worst 300, of 3/);
});

t.test('claims nothing of what did not happen', async (t) => {
  const result = failoverResult(
    'emulated',
    'buffered',
    { ours: [{ ms: 1 }], plaintext: [], lost: [], switchover: [], qemu: [] },
    ['qemu: no'],
  );
  t.strictSame(
    result.ratios.map(({ met }) => met),
    [null, null, null],
  );
  t.match(formatFailover(result), 'In emulated hosts, ours buffered;');
  t.match(formatFailover(result), 'qemu: no');
});

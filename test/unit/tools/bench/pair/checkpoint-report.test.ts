import t from 'tap';
import {
  type CheckpointResult,
  checkpointResult,
  type Figures,
  formatCheckpoint,
} from '../../../../../tools/bench/pair/checkpoint-report.ts';

const stop = (ms: number) => ({ count: 10, median: ms, p99: 2 * ms });

const figures = (stopMs: number, answersPerSecond: number): Figures => ({
  beginningMs: 10 * stopMs,
  copyingSpeed: 0.7,
  stops: { idle: stop(stopMs), loaded: { ...stop(3 * stopMs), parts: { collect: 1, copy: 2 } } },
  answers: [
    { clients: 1, unprotected: 100, protected: answersPerSecond },
    { clients: 32, unprotected: 200, protected: 2 * answersPerSecond },
  ],
  standbyMib: { idle: 180, loaded: 200 },
});

const memory = { memoryMib: 100, unprotectedMib: 80 };

const verdicts = ({ ratios }: CheckpointResult, mode: string) =>
  ratios.filter(({ name }) => name.startsWith(`${mode}: `)).map(({ ratio, met }) => [ratio, met]);

t.test('holds ours against QEMU, and against the unprotected guest, in the sense of each figure', async (t) => {
  const result = checkpointResult('emulated', memory, { buffered: figures(10, 25), qemu: figures(40, 4) }, []);
  t.strictSame(verdicts(result, 'buffered'), [
    [0.25, true], // at most 1/3
    [0.25, false], // at most 1/5
    [null, null], // nobody was watched for that long
    [0.25, false], // at most 1/10
    [0.7, true],
    [6.25, true], // at least 5 times QEMU's
    [0.25, false], // at least 0.3 of unprotected
    [1, true], // 180 - 80 of 100 MiB
    [1.2, false], // 200 - 80
  ]);
});

t.test('claims nothing where QEMU did not come up', async (t) => {
  const result = checkpointResult('emulated', memory, { comparing: figures(10, 35) }, ['qemu: it hangs']);
  t.strictSame(
    verdicts(result, 'comparing').map(([, met]) => met),
    [null, null, null, null, true, null, true, true],
  );
  const text = formatCheckpoint(result);
  t.match(text, /not measured +at most 0\.333/);
  t.match(text, 'qemu: it hangs');
  t.match(text, 'collect 1, copy 2');
});

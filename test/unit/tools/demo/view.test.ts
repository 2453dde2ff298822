import t from 'tap';
import type { ColoStatus } from '../../../../src/vmm/monitor/colo-control.ts';
import { type Scene, sparkline, viewLines } from '../../../../tools/demo/view.ts';

const status: ColoStatus = {
  pair: 'web',
  role: 'primary',
  headline: 'PROTECTED',
  since: 0,
  why: '',
  phase: 'protected',
  term: 1,
  checkpointDelayMs: 500,
  address: '10.77.0.2:7000',
  mode: 'buffered',
  epoch: 1204,
  stops: { median: 3.04, worst: 9, count: 7, pages: 40, parts: {} },
  arbiter: { name: 'etcd' },
};
const { stops: _, ...standby } = status;
const scene: Scene = {
  clients: {
    summary: { asked: 9311, answers: 9311, retransmissions: 0, longestSilenceMs: 212.4, medianMs: 1, worstMs: 1 },
    silenceMs: 0,
    violations: [],
  },
  bins: [0, 10, 20, 40, 40, 0, 40, 20],
  status: { a: status, b: { ...standby, role: 'secondary', headline: 'PROTECTING', epoch: 1203 } },
  gone: {},
  happened: [{ atMs: 1234, text: 'host b: protection: PROTECTING a' }],
};

t.test('a pair in one look', (t) => {
  t.match(
    viewLines(scene).join('\n'),
    /host a +PROTECTED {3}primary {3}term 1 {3}checkpoint 1,204 {3}guest stopped 3\.0 ms/,
  );
  const text = viewLines(scene).join('\n');
  t.match(text, /host b +PROTECTING {3}standby/);
  t.match(text, /60 answers\/s {3}9,311 answered {3}0 wrong {3}longest silence 212 ms/);
  t.match(text, /1\.2 s +host b: protection: PROTECTING a/);
  t.end();
});

t.test('the host that lost its power is not shown as it was, and the other is the survivor', (t) => {
  const text = viewLines({
    ...scene,
    gone: { a: 'lost its power at 12.4 s' },
    status: { ...scene.status, b: { ...standby, role: 'primary', survivor: true, headline: 'UNPROTECTED', term: 2 } },
  }).join('\n');
  t.match(text, /host a +lost its power at 12\.4 s/);
  t.notMatch(text, /PROTECTED {3}primary/);
  t.match(text, /host b +UNPROTECTED {3}survivor {3}term 2/);
  t.end();
});

t.test('a silence is a gap, and the line has always the same length', (t) => {
  t.match(sparkline([8, 8, 0, 4]), /^ +██ ▅$/);
  t.equal([...sparkline([1])].length, [...sparkline(Array.from({ length: 500 }, () => 3))].length);
  t.end();
});

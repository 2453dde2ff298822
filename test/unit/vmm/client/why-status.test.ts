import { test } from 'tap';
import * as v from 'valibot';
import { pairStatus } from '../../../../src/vmm/client/pair-answers.ts';
import { renderDivergences } from '../../../../src/vmm/client/why-status.ts';
import type { ColoDivergence, ColoStatus } from '../../../../src/vmm/monitor/colo-control.ts';
import { protectedStatus } from '../../../support/fake-colo.ts';

process.env.TZ = 'UTC';

const at = Date.UTC(2026, 11, 1, 16, 10, 2);
const now = at + 60_000;
const date: ColoDivergence = {
  ...{ at, number: 1300, times: 1204, what: 'tcp a - b: "1[2|3]"', cause: 'Clocks.', remedy: 'Do this' },
};

function lines(recent: readonly ColoDivergence[]): string[] {
  const compared = { released: 1, passed: 0, divergences: 3, checkpoints: 2, recent };
  const status: ColoStatus = { ...protectedStatus, mode: 'comparing', compared };
  v.parse(pairStatus, JSON.parse(JSON.stringify(status)));
  return renderDivergences(status, now);
}

test('when and where the guests did not agree, why, and what to do', async (t) => {
  const { remedy: _, ...end } = { ...date, times: 1, what: 'tcp a - c' };
  t.strictSame(lines([date, end]), [
    'last 2 kinds of divergences',
    '16:10:02  tcp a - b: "1[2|3]"',
    '          Clocks. 1,204 times in a row.',
    '          Do this.',
    '16:10:02  tcp a - c',
    '          Clocks.',
  ]);
  t.equal(lines([{ ...date, at: at - 86_400_000 }])[1], '2026-11-30 16:10:02  tcp a - b: "1[2|3]"');
});

test('what a hostile guest said draws nothing on the terminal', async (t) => {
  t.notMatch(lines([{ ...date, what: '\u001b[2J' }]).join(''), '\u001b');
});

test('guests that agree, and pairs where nothing is compared', async (t) => {
  t.strictSame(lines([]), ['The two guests have agreed on everything since protection began.']);
  t.strictSame(renderDivergences(protectedStatus, now), [
    'Nothing is compared: protection began with --mode buffered.',
  ]);
  t.match(renderDivergences({ ...protectedStatus, headline: 'UNPROTECTED' }, now), [/is not protected now/]);
  t.match(renderDivergences({ ...protectedStatus, role: 'secondary' }, now), [/on the primary/]);
});

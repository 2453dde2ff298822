import { readFileSync } from 'node:fs';
import { test } from 'tap';
import { metrics } from '../../../src/colo/observe/web/metric-table.ts';
import {
  deviceFlags,
  flowFlag,
  protectFlags,
  restoreFlags,
  runFlags,
  standbyFlags,
} from '../../../src/command-line/flags.ts';
import { headlines, milestones } from '../../../src/vmm/client/pair-answers.ts';
import { pairLabels } from '../../../src/vmm/client/pair-status.ts';
import { exitCode } from '../../../src/vmm/vcpu/guest-end.ts';

const read = (name: string): string => readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8');
const operating = read('docs/operating.md');

/** What stands in backquotes in the first column of the table below `heading`. */
function firstColumn(heading: string): string[] {
  const [, part = ''] = operating.split(`\n## ${heading}\n`);
  const [section = ''] = part.split('\n## ');
  const cells = section.split('\n').map((line) => /^\| (`.*?)\s+\|/.exec(line)?.[1] ?? '');
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word));
}

test('operating.md has every figure that is served, and no other', async (t) => {
  const named = firstColumn('Figures').map((figure) => figure.replace(/\{.*\}$/, ''));
  const isNamed = (figure: string, word: string): boolean =>
    word.endsWith('...') ? figure.startsWith(word.slice(0, -3)) : figure === word;
  const served = metrics.map(({ name }) => name.replace(/^colo_vmm_/, ''));
  t.strictSame(
    served.filter((figure) => !named.some((word) => isNamed(figure, word))),
    [],
    'served, and not named',
  );
  t.strictSame(
    named.filter((word) => !served.some((figure) => isNamed(figure, word))),
    [],
    'named, and not served',
  );
});

test('operating.md has every event of --on-event, and no other', async (t) => {
  t.strictSame(firstColumn('Being told').sort(), [...milestones].sort());
});

test('operating.md has every first word of status, and no other', async (t) => {
  const words = firstColumn('The first line of status').filter((word) => /^[A-Z]+$/.test(word));
  t.strictSame(words.sort(), [...headlines].sort());
});

test('operating.md has every line of status below it, and no other', async (t) => {
  const words = firstColumn('The first line of status').filter((word) => /^[a-z ]+$/.test(word));
  t.strictSame(words.sort(), [...pairLabels, 'pair'].sort());
});

test('operating.md has every exit code', async (t) => {
  const [, part = ''] = operating.split('\n## Exit codes\n');
  const codes = [...part.matchAll(/^\| (\d+) +\|/gm)].map(([, code]) => Number(code));
  t.strictSame(codes, Object.values(exitCode));
});

test('every flag stands in README.md or operating.md', async (t) => {
  const text = read('README.md') + operating;
  const flags = [...runFlags, ...standbyFlags, ...restoreFlags, ...protectFlags, ...deviceFlags, flowFlag];
  for (const [flag] of flags) t.match(text, new RegExp(`--${flag}\\b`), flag);
});

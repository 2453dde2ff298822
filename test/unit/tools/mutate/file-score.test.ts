import { test } from 'tap';
import type { EquivalentMutant } from '../../../../tools/mutate/equivalent/equivalent-mutant.ts';
import { scoreFile } from '../../../../tools/mutate/file-score.ts';
import { formatScores } from '../../../../tools/mutate/format-scores.ts';
import { type Mutant, originalText, strykerRange, withLaterResults } from '../../../../tools/mutate/mutation-report.ts';

const source = ['if (a < b && c) {', '  go(1 +', '    2);', '}', 'const d = a < b;'].join('\n');

/** A mutant of `original`, at the place where it stands in the source for the first time, or behind `from`. */
function mutant(original: string, replacement: string, status: Mutant['status'], from = 0): Mutant {
  const at = source.indexOf(original, from);
  const place = (offset: number) => {
    const lines = source.slice(0, offset).split('\n');
    return { line: lines.length, column: (lines.at(-1) ?? '').length + 1 };
  };
  const location = { start: place(at), end: place(at + original.length) };
  return { mutatorName: 'Operator', replacement, status, location };
}

const score = (mutants: readonly Mutant[], equivalents: readonly EquivalentMutant[] = []) =>
  scoreFile('src/a.ts', source, mutants, equivalents);

test('what is replaced is read from the source, over lines too', async (t) => {
  t.equal(originalText(source, mutant('a < b', '', 'Killed').location), 'a < b');
  t.equal(originalText(source, mutant('1 +\n    2', '', 'Killed').location), '1 +\n    2');
  t.equal(strykerRange(mutant('1 +\n    2', '', 'Killed').location), '2:5-3:5');
});

test('crashes and timeouts count as noticed, what no test reaches as survived', async (t) => {
  const found = score([
    mutant('a < b', 'a <= b', 'Killed'),
    mutant('a < b', 'true', 'RuntimeError'),
    mutant('1 +\n    2', '1 - 2', 'Timeout'),
    mutant('c', 'false', 'NoCoverage'),
    mutant('a', 'x', 'Ignored'),
  ]);
  t.match(found, { killed: 2, timeout: 1, survived: 1, equivalent: 0, score: 75 });
  t.strictSame(found.survivors, [
    { line: 1, column: 14, mutator: 'Operator', original: 'c', replacement: 'false', reached: false },
  ]);
  t.equal(score([]).score, 100);
});

test('equivalent mutants count neither way', async (t) => {
  const listed = { original: '1 + 2', replacements: ['1 - 2', '1 * 2'], why: 'nobody looks' };
  const found = score(
    [
      mutant('a < b', 'a <= b', 'Killed'),
      mutant('1 +\n    2', '1 - 2', 'Survived'),
      mutant('1 +\n    2', '1 * 2', 'NoCoverage'),
    ],
    [listed],
  );
  t.match(found, { killed: 1, survived: 0, equivalent: 2, score: 100, survivors: [], wrongEntries: [] });
});

test('an entry of the list is wrong if its mutant is gone, noticed, or more than one', async (t) => {
  const listed = { original: 'a < b', replacements: ['a <= b'], why: 'nobody looks' };
  const wrong = (mutants: readonly Mutant[], entry: EquivalentMutant = listed): readonly string[] =>
    score(mutants, [entry]).wrongEntries;
  const first = mutant('a < b', 'a <= b', 'Survived');
  const second = mutant('a < b', 'a <= b', 'Survived', 20);
  t.strictSame(wrong([first]), []);
  t.match(wrong([]), [/src\/a.ts: a < b -> a <= b .* there is no such mutant/]);
  t.match(wrong([mutant('a < b', 'a <= b', 'Killed')]), [/a test noticed it/]);
  t.match(wrong([first, second]), [/for 1 places, but there are 2/]);
  t.strictSame(wrong([first, second], { ...listed, places: 2 }), []);
  const killedElsewhere = [first, mutant('a < b', 'a <= b', 'Killed', 20)];
  t.strictSame(wrong(killedElsewhere, { ...listed, line: 'if (' }), []);
  t.match(wrong(killedElsewhere, { ...listed, line: 'const d' }), [/a test noticed it/]);
});

test('a second run over what survived takes the place of those results only', async (t) => {
  const killed = mutant('a < b', 'true', 'Killed');
  const before = [killed, mutant('a < b', 'a <= b', 'Survived')];
  const after = withLaterResults(before, [mutant('a < b', 'a <= b', 'Killed')]);
  t.strictSame(
    after.map(({ status }) => status),
    ['Killed', 'Killed'],
  );
});

test('the table has a line for each file, then each survivor with its place and change', async (t) => {
  const text = formatScores([score([mutant('a < b', 'a <= b', 'Survived'), mutant('c', 'true', 'Killed')])]);
  t.match(text, /^file +killed +timeout +survived +equivalent +score\nsrc\/a\.ts +1 +0 +1 +0 +50\.0 %\n/);
  t.match(text, /\nsrc\/a\.ts:1:5 {2}a < b -> a <= b\n/);
  t.notMatch(text, 'wrong entries');
});

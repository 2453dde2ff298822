import { change, type FileScore } from './file-score.ts';

const headings = ['killed', 'timeout', 'survived', 'equivalent', 'score'] as const;

/** A table with a line for each file, and under it what survived. */
export function formatScores(scores: readonly FileScore[]): string {
  const width = Math.max(4, ...scores.map(({ file }) => file.length));
  const row = (name: string, cells: readonly string[]): string =>
    `${name.padEnd(width)}${cells.map((cell) => cell.padStart(12)).join('')}\n`;
  const table = scores.map((score) =>
    row(
      score.file,
      headings.map((name) => cell(score, name)),
    ),
  );
  const survivors = scores.flatMap(({ file, survivors }) =>
    survivors.map(
      ({ line, column, original, replacement, reached }) =>
        `${file}:${line}:${column}  ${change(original, replacement)}${reached ? '' : '  (no test comes here)'}\n`,
    ),
  );
  const wrong = scores.flatMap(({ wrongEntries }) => wrongEntries.map((entry) => `${entry}\n`));
  return [row('file', headings), ...table, ...section('survived', survivors), ...section('wrong entries', wrong)].join(
    '',
  );
}

function cell(score: FileScore, name: (typeof headings)[number]): string {
  return name === 'score' ? `${score.score.toFixed(1)} %` : String(score[name]);
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`\n${title}:\n`, ...lines];
}

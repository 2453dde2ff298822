import type { EquivalentMutant } from './equivalent/equivalent-mutant.ts';
import { isUnnoticed, type Mutant, originalText } from './mutation-report.ts';

/** A change that no test noticed. */
export interface Survivor {
  readonly line: number;
  readonly column: number;
  readonly mutator: string;
  readonly original: string;
  readonly replacement: string;
  /** False if no test ever came there. */
  readonly reached: boolean;
}

/** What the tests of a file are worth. */
export interface FileScore {
  readonly file: string;
  /** A crash of the test counts as well: it would not have gone unnoticed. */
  readonly killed: number;
  readonly timeout: number;
  readonly survived: number;
  /** Changes that change nothing, by the list. */
  readonly equivalent: number;
  /** Killed and timed out in percent of all but equivalent ones; 100 where there is nothing to change. */
  readonly score: number;
  readonly survivors: readonly Survivor[];
  /** What is wrong with the list of equivalent mutants, a sentence each. */
  readonly wrongEntries: readonly string[];
}

/** Counts the mutants of a file. */
export function scoreFile(
  file: string,
  source: string,
  mutants: readonly Mutant[],
  equivalents: readonly EquivalentMutant[],
): FileScore {
  let [killed, timeout, equivalent] = [0, 0, 0];
  const survivors: Survivor[] = [];
  const found = new Map<string, { survived: number; noticed: number }>();
  const entries = new Set(
    equivalents.flatMap(({ original, replacements }) => replacements.map((to) => key(original, to))),
  );
  for (const mutant of mutants) {
    if (mutant.status === 'Ignored' || mutant.status === 'CompileError') continue;
    const original = originalText(source, mutant.location);
    const noticed = !isUnnoticed(mutant);
    const entry = key(original, mutant.replacement);
    if (entries.has(entry)) {
      const seen = found.get(entry) ?? { survived: 0, noticed: 0 };
      seen[noticed ? 'noticed' : 'survived']++;
      found.set(entry, seen);
      if (!noticed) {
        equivalent++;
        continue;
      }
    }
    if (mutant.status === 'Timeout') timeout++;
    else if (noticed) killed++;
    else {
      const { line, column } = mutant.location.start;
      const { mutatorName: mutator, replacement, status } = mutant;
      survivors.push({ line, column, mutator, original, replacement, reached: status === 'Survived' });
    }
  }
  survivors.sort((a, b) => a.line - b.line || a.column - b.column);
  const counted = killed + timeout + survivors.length;
  return {
    file,
    killed,
    timeout,
    survived: survivors.length,
    equivalent,
    score: counted === 0 ? 100 : ((killed + timeout) / counted) * 100,
    survivors,
    wrongEntries: wrongEntries(file, equivalents, found),
  };
}

function wrongEntries(
  file: string,
  equivalents: readonly EquivalentMutant[],
  found: ReadonlyMap<string, { readonly survived: number; readonly noticed: number }>,
): string[] {
  const wrong: string[] = [];
  for (const { original, replacements, places = 1 } of equivalents) {
    for (const replacement of replacements) {
      const what = `${file}: ${change(original, replacement)} is on the list of equivalent mutants`;
      const { survived, noticed } = found.get(key(original, replacement)) ?? { survived: 0, noticed: 0 };
      if (survived + noticed === 0) wrong.push(`${what}, but there is no such mutant (any more)`);
      else if (noticed > 0) wrong.push(`${what}, but a test noticed it`);
      else if (survived !== places) wrong.push(`${what} for ${places} places, but there are ${survived}`);
    }
  }
  return wrong;
}

const key = (original: string, replacement: string): string => `${oneLine(original)}\0${oneLine(replacement)}`;

/** Layout does not matter. */
export function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

/** A change as a reader likes to see it. */
export function change(original: string, replacement: string): string {
  return `${shortened(original)} -> ${shortened(replacement)}`;
}

const longest = 100;

function shortened(text: string): string {
  const line = oneLine(text);
  return line.length <= longest ? line : `${line.slice(0, longest - 40)} ... ${line.slice(-35)}`;
}

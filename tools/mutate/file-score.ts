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
  const found: Sightings = new Map();
  const lines = source.split('\n');
  for (const mutant of mutants) {
    if (mutant.status === 'Ignored' || mutant.status === 'CompileError') continue;
    const original = originalText(source, mutant.location);
    const noticed = !isUnnoticed(mutant);
    const line = lines[mutant.location.start.line - 1] ?? '';
    const entry = equivalents.find((one) => isOf(one, original, mutant.replacement, line));
    if (entry !== undefined) {
      const seen = sightings(found, entry, mutant.replacement);
      seen[noticed ? 'noticed' : 'survived']++;
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

/** How often the mutants of an entry were met, by what replaces the original. */
type Sightings = Map<EquivalentMutant, Map<string, { survived: number; noticed: number }>>;

function sightings(found: Sightings, entry: EquivalentMutant, replacement: string) {
  const ofEntry = found.get(entry) ?? new Map();
  found.set(entry, ofEntry);
  const seen = ofEntry.get(oneLine(replacement)) ?? { survived: 0, noticed: 0 };
  ofEntry.set(oneLine(replacement), seen);
  return seen;
}

function isOf(entry: EquivalentMutant, original: string, replacement: string, line: string): boolean {
  return (
    oneLine(entry.original) === oneLine(original) &&
    entry.replacements.some((one) => oneLine(one) === oneLine(replacement)) &&
    (entry.line === undefined || line.includes(entry.line))
  );
}

function wrongEntries(file: string, equivalents: readonly EquivalentMutant[], found: Sightings): string[] {
  const wrong: string[] = [];
  for (const entry of equivalents) {
    const { original, replacements, places = 1 } = entry;
    for (const replacement of replacements) {
      const what = `${file}: ${change(original, replacement)} is on the list of equivalent mutants`;
      const { survived, noticed } = sightings(found, entry, replacement);
      if (survived + noticed === 0) wrong.push(`${what}, but there is no such mutant (any more)`);
      else if (noticed > 0) wrong.push(`${what}, but a test noticed it`);
      else if (survived !== places) wrong.push(`${what} for ${places} places, but there are ${survived}`);
    }
  }
  return wrong;
}

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

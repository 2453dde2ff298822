/** The parts of Stryker's report (mutation-testing-report-schema 2) that are used. */
export interface MutationReport {
  readonly files: Readonly<Record<string, { readonly source: string; readonly mutants: readonly Mutant[] }>>;
}

/** Lines and columns count from 1; the end is behind the last character. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** A single change, and what the tests made of it. */
export interface Mutant {
  readonly mutatorName: string;
  readonly replacement: string;
  readonly status:
    | 'Killed'
    | 'Survived'
    | 'NoCoverage'
    | 'Timeout'
    | 'RuntimeError'
    | 'CompileError'
    | 'Ignored'
    | 'Pending';
  readonly location: { readonly start: Place; readonly end: Place };
}

/** The source text that a mutant replaces. */
export function originalText(source: string, { start, end }: Mutant['location']): string {
  const lines = source.split('\n').slice(start.line - 1, end.line);
  lines[lines.length - 1] = (lines.at(-1) ?? '').slice(0, end.column - 1);
  lines[0] = (lines[0] ?? '').slice(start.column - 1);
  return lines.join('\n');
}

/** Results of a run over a part of a file put in place of those of an earlier run over all of it. */
export function withLaterResults(earlier: readonly Mutant[], later: readonly Mutant[]): Mutant[] {
  const key = ({ mutatorName, replacement, location }: Mutant): string =>
    JSON.stringify([mutatorName, replacement, location.start, location.end]);
  const news = new Map(later.map((mutant) => [key(mutant), mutant]));
  return earlier.map((mutant) => news.get(key(mutant)) ?? mutant);
}

/** No test noticed it, be it that none came there. */
export function isUnnoticed({ status }: Mutant): boolean {
  return status === 'Survived' || status === 'NoCoverage';
}

/** A stretch of source as Stryker's settings name it: there columns count from 0. */
export function strykerRange({ start, end }: Mutant['location']): string {
  return `${start.line}:${start.column - 1}-${end.line}:${end.column - 1}`;
}

/**
 * How a long piece of work tells what it is doing: one short line, replacing the one before.
 * A command shows it beside its spinner; a log prints each new line once.
 */
export type Progress = (line: string) => void;

/** Says nothing. */
export const silent: Progress = () => {};

/** Writes each line to standard error, once, for programs that have no spinner of their own. */
export function progressToStderr(prefix: string): Progress {
  let last = '';
  return (line) => {
    // A percentage that moves is for terminals; here only the step itself is news.
    const step = line.replace(/:?\s*\d+ ?%.*$/, '');
    if (step === last) return;
    last = step;
    process.stderr.write(`${prefix}${step}\n`);
  };
}

import { Listr } from 'listr2';
import { type Progress, progressToStderr } from './progress.ts';

/** Runs one long piece of work, showing on standard error what it does: a spinner on a terminal, lines elsewhere. */
export async function runTask<T>(title: string, work: (progress: Progress) => Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work(progressToStderr(`${title}: `));
  const context: { result?: T } = {};
  await new Listr<{ result?: T }>(
    [
      {
        title,
        task: async (shared, task) => {
          shared.result = await work((line) => {
            task.output = line;
          });
        },
      },
    ],
    { ctx: context, rendererOptions: { collapseSubtasks: false } },
  ).run();
  return context.result as T;
}

import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { buildSync } from 'esbuild';

/** What a thread answers. */
type Answer<R> = { readonly result: R } | { readonly error: unknown };

/** The program and all that it imports as one script: a thread has no loader for TypeScript, and so it is quicker, too. */
function scriptOf(program: URL): string {
  const { outputFiles } = buildSync({
    entryPoints: [fileURLToPath(program)],
    bundle: true,
    write: false,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    logLevel: 'silent',
  });
  const [script] = outputFiles;
  if (script === undefined) throw new Error(`esbuild made nothing of ${program.href}`);
  return script.text;
}

/**
 * Has tasks done by threads, each of which takes the first task that nobody has taken yet. Results come in the order of the tasks, whoever
 * is done first; whoever wants no more of them ends the threads.
 *
 * @param program what a thread runs: it answers each message, a task, by one
 */
export async function* performInOrder<T, R>(program: URL, tasks: readonly T[], jobs: number): AsyncGenerator<R> {
  const answers = new Map<number, Answer<R>>();
  let taken = 0;
  let came = (): void => {};
  const answered = (nth: number, answer: Answer<R>): void => {
    answers.set(nth, answer);
    came();
  };
  const source = scriptOf(program);
  const workers = Array.from({ length: Math.min(jobs, tasks.length) }, () => new Worker(source, { eval: true }));
  for (const worker of workers) {
    let mine = 0;
    const take = (): void => {
      if (taken === tasks.length) return;
      mine = taken++;
      worker.postMessage(tasks[mine]);
    };
    worker.on('message', (result: R) => {
      answered(mine, { result });
      take();
    });
    worker.on('error', (error) => answered(mine, { error }));
    take();
  }
  try {
    for (let nth = 0; nth < tasks.length; nth++) {
      while (!answers.has(nth)) {
        await new Promise<void>((resolve) => {
          came = resolve;
        });
      }
      const answer = answers.get(nth) as Answer<R>;
      answers.delete(nth);
      if ('error' in answer) throw answer.error;
      yield answer.result;
    }
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

/**
 * Asks an arbiter's folder from inside a lab's host. Its arguments are the folder, and the program of a FileArbiter's process or
 * nothing; a line of its standard input is a {@link Question}, and each gets a line of an {@link Answer}.
 *
 * Without the program a TermFolder is asked in this very process, which waits before each link(2): it says `isAtLink`, and goes on
 * when it gets a line, whatever that is. So a test knows that two of them have looked, and neither has linked.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { FileArbiter } from '../../src/colo/arbiter/file-arbiter.ts';
import { TermFolder } from '../../src/colo/arbiter/term-folder.ts';
import { beginTermProcess } from '../../src/colo/arbiter/term-program.ts';
import type { Answer, Question } from './nfs-questions.ts';

const [folder = '', program] = process.argv.slice(2);
/** What the program gives an arbiter. */
const patienceMs = 10_000;

function say(answer: Answer): void {
  fs.writeSync(1, `${JSON.stringify(answer)}\n`);
}

/** What any program sees of the folder. */
function look(question: Question & { ask: 'look' }): Answer {
  const path = join(folder, question.pair);
  const names = fs.readdirSync(path).filter((name) => name.startsWith('term-'));
  return { names, isThere: fs.existsSync(join(path, question.name)) };
}

function problemOf(error: unknown): Answer {
  return { problem: (error as Error).message };
}

if (program === undefined) {
  const terms = new TermFolder(folder, {
    ...fs,
    linkSync: (from, to) => {
      say({ isAtLink: true });
      line();
      fs.linkSync(from, to);
    },
  });
  for (let text = line(); text !== ''; text = line()) {
    const question = JSON.parse(text) as Question;
    try {
      if (question.ask === 'look') say(look(question));
      else if (question.ask === 'check') say({ last: terms.check(question.pair) ?? null });
      else say({ verdict: terms.ask(question.ask, question.claim) });
    } catch (error) {
      say(problemOf(error));
    }
  }
} else {
  const arbiter = new FileArbiter({
    folder,
    patienceMs,
    begin: (path) => beginTermProcess([process.execPath, program, path]),
  });
  const ask = async (question: Question): Promise<Answer> => {
    if (question.ask === 'look') return look(question);
    if (question.ask === 'check') return { last: (await arbiter.check(question.pair)) ?? null };
    return { verdict: await arbiter[question.ask](question.claim) };
  };
  createInterface({ input: process.stdin })
    .on('line', (text) => {
      const since = performance.now();
      void ask(JSON.parse(text) as Question)
        .catch(problemOf)
        .then((answer) => say({ ...answer, ms: performance.now() - since }));
    })
    .on('close', () => arbiter.close());
}

/** The next line of standard input, empty at its end. */
function line(): string {
  const one = Buffer.alloc(1);
  let text = '';
  while (fs.readSync(0, one) === 1 && one[0] !== 0x0a) text += one.toString();
  return text;
}

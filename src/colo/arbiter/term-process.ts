import { TermFolder } from './term-folder.ts';
import type { TermAnswer, TermQuestion } from './term-messages.ts';

/**
 * A process of its own, that a FileArbiter begins: it answers one question after the other, and may be stuck in the file
 * system for as long as that likes. Its argument is the folder. It ends with its owner, or as soon after as the kernel lets it.
 */
const folder = new TermFolder(process.argv[2] ?? '');

process.title = `colo-vmm: arbiter ${process.argv[2]}`;
// A service manager tells all processes of a service to end. Its owner may need it until it has ended itself.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit());
process.on('message', (question: TermQuestion) => process.send?.(answer(question)));

function answer(question: TermQuestion): TermAnswer {
  const { id } = question;
  try {
    if (question.ask !== 'check') return { id, verdict: folder.ask(question.ask, question.claim) };
    return { id, last: folder.check(question.pair) ?? null };
  } catch (error) {
    return { id, problem: (error as Error).message };
  }
}

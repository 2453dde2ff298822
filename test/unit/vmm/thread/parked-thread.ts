import { ThreadControl } from '../../../../src/vmm/thread/thread-control.ts';

/** Body of a thread that parks, and counts what it is asked, until it is to go on. Gives the count. */
export function countQuestions(storage: SharedArrayBuffer): number {
  let questions = 0;
  new ThreadControl(storage).park(() => {
    questions++;
  });
  return questions;
}

import { test } from 'tap';
import { Fifo } from '../../../../../src/colo/core/epochs/fifo.ts';

test('gives back what it was given, in order, however much comes in between', async (t) => {
  const fifo = new Fifo<number>();
  const model: number[] = [];
  let next = 0;
  for (let step = 0; step < 2000; step++) {
    // Grows to some hundred, then shrinks to nothing, again and again.
    const adds = Math.floor(step / 250) % 2 === 0 ? 3 : 1;
    for (let count = 0; count < adds; count++) {
      model.push(next);
      fifo.push(next++);
    }
    for (let count = 0; count < 2; count++) if (fifo.shift() !== model.shift()) t.fail(`wrong at step ${step}`);
    if (fifo.length !== model.length || fifo.first !== model[0] || fifo.last !== model.at(-1)) {
      t.fail(`its ends are wrong at step ${step}`);
    }
  }
  t.strictSame(fifo.toArray(), model);
  while (model.length > 0) if (fifo.pop() !== model.pop() || fifo.last !== model.at(-1)) t.fail('the newest is wrong');
  t.strictSame([fifo.length, fifo.pop()], [0, undefined]);
  fifo.push(7);
  t.strictSame([fifo.first, fifo.last, fifo.at(0)], [7, 7, 7]);
  fifo.clear();
  t.strictSame([fifo.length, fifo.first, fifo.last, fifo.shift()], [0, undefined, undefined, undefined]);
});

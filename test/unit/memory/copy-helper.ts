import { SharedPageCopy } from '../../../src/memory/page-copy.ts';

/** Body of a thread that takes parts of every copy it sees. `cells`: threads that do so, copies joined, whether to end. */
export function helpAlways(storage: SharedArrayBuffer, cells: Int32Array): void {
  const copy = new SharedPageCopy(storage);
  Atomics.add(cells, 0, 1);
  while (Atomics.load(cells, 2) === 0) Atomics.add(cells, 1, copy.takeParts());
}

import { ControlledThread } from '../../../../src/vmm/thread/controlled-thread.ts';
import { ThreadControl } from '../../../../src/vmm/thread/thread-control.ts';
import { until } from '../../../support/machines.ts';
import { gate } from './parked-thread.ts';

// A process of its own, for it stops itself: a question and a park, in each of which it is frozen. Prints what came of them.
const control = new ThreadControl();
const cells = new Int32Array(new SharedArrayBuffer(8));
const birth = {
  thread: 'io' as const,
  control: control.storage,
  module: new URL('./parked-thread.ts', import.meta.url).href,
  name: 'freezeAll',
  args: [cells],
};
const thread = new ControlledThread({
  program: new URL('../../../support/thread-main.mjs', import.meta.url),
  name: 'freezing',
  birth,
  control,
  callOut: () => {},
  reported: () => {},
  failed: (error) => console.log(error.message),
  answers: true,
});
try {
  console.log(thread.ask('asked'));
  thread.resume();
  // Its phase says so a moment before it is sure.
  await until(() => Atomics.load(cells, gate.reached) === 1);
  thread.requestPark();
  thread.waitUntilParked();
  console.log('parked');
} catch (error) {
  console.log((error as Error).message);
}
thread.requestEnd();
process.exit(0);

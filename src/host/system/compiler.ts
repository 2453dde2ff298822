import { setFlagsFromString } from 'node:v8';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';

/**
 * How soon V8 compiles a function: after how many bytes of bytecode have been executed in it, some times over. It is the whole
 * process's, and counts for each function from when its last budget is used up.
 */
const interruptBudget = {
  /** V8's own, in Node 20. Where it is another one, V8 refuses code caches once anything else was chosen. */
  first: 67_584,
  /** For threads that do little, thousands of times a second: V8 would first see some ten thousand of each. */
  soon: 10_000,
  /** For threads that do much, some times a second: compiling it all would take as long as a minute of doing it. */
  late: 100_000,
} as const;

/** V8's flags are the process's, and V8 does not tell them: what all its threads have chosen. */
const chosen = sharedChoice();

/** Has V8 compile functions so. For all threads of the process. */
export function compile(when: keyof typeof interruptBudget): void {
  chosen[0] = interruptBudget[when];
  setFlagsFromString(`--interrupt-budget=${chosen[0]}`);
}

/**
 * Has V8 keep the bytecode of functions that have not run for long, which it throws away otherwise, to compile them when they are
 * called again: for a process that waits for days and then has to be quick. For all threads of the process, and for good.
 */
export function keepBytecode(): void {
  chosen[1] = 1;
  setFlagsFromString('--no-flush-bytecode');
}

/**
 * What `load` gives, while V8 has the flags that code caches are made with. With others it refuses them, and compiles; so it does
 * where it is not the V8 that made them, or if another thread chooses at that moment.
 */
export function asBuilt<Loaded>(load: () => Loaded): Loaded {
  const [budget, keeps] = chosen;
  if (budget !== 0) setFlagsFromString(`--interrupt-budget=${interruptBudget.first}`);
  if (keeps !== 0) setFlagsFromString('--flush-bytecode');
  try {
    return load();
  } finally {
    if (budget !== 0) setFlagsFromString(`--interrupt-budget=${chosen[0]}`);
    if (keeps !== 0) setFlagsFromString('--no-flush-bytecode');
  }
}

/** Interrupt budget, 0 for V8's own, and whether bytecode is kept. All threads, and the programs in them, share them. */
function sharedChoice(): Int32Array {
  const key = 'colo-vmm compiler';
  const inherited = getEnvironmentData(key) as SharedArrayBuffer | undefined;
  const storage = inherited ?? new SharedArrayBuffer(8);
  if (inherited === undefined) setEnvironmentData(key, storage);
  return new Int32Array(storage);
}

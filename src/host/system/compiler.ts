import { setFlagsFromString } from 'node:v8';

/**
 * How soon V8 compiles a function: after how many bytes of bytecode have been executed in it, some times over. It is the whole
 * process's, and counts for each function from when its last budget is used up. Once a program is loaded, for V8 takes a code cache
 * only with the flags that it was written with.
 */
const interruptBudget = {
  /** V8's own, in Node 20: for as long as a program is loaded. Where it is another one, V8 refuses the cache, and compiles. */
  first: 67_584,
  /** For threads that do little, thousands of times a second: V8 would first see some ten thousand of each. */
  soon: 10_000,
  /** For threads that do much, some times a second: compiling it all would take as long as a minute of doing it. */
  late: 100_000,
} as const;

/** Has V8 compile functions so. For all threads of the process. */
export function compile(when: keyof typeof interruptBudget): void {
  setFlagsFromString(`--interrupt-budget=${interruptBudget[when]}`);
}

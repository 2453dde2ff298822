import { SystemError } from '../system-error.ts';
import { declare, lastErrno } from './library.ts';

const syscallCall = declare<[number, number, number, number], number>(
  'int64_t syscall(int64_t, int64_t, int64_t, int64_t)',
);
const dlsymCall = declare<[number, string], bigint | number>('int64_t dlsym(int64_t, const char *)');
const sigactionCall = declare<[number, Uint8Array, null], number>('int sigaction(int, const uint8_t *, void *)');

/** System call numbers of x86-64 without a function in every C library. */
const SYS_gettid = 186;
const SYS_tgkill = 234;

/** Kernel id of the calling thread. */
export function gettid(): number {
  return syscallCall(SYS_gettid, 0, 0, 0);
}

/** Sends a signal to one thread of this process. A thread that is gone already is no error. */
export function signalThread(tid: number, signal: number): void {
  syscallCall(SYS_tgkill, process.pid, tid, signal);
}

/** Installs a C function of the C library, by name, as handler of `signal` for the whole process. */
export function handleSignalWith(signal: number, functionName: string): void {
  const RTLD_DEFAULT = 0;
  const handler = BigInt(dlsymCall(RTLD_DEFAULT, functionName));
  if (handler === 0n) throw new Error(`the C library has no ${functionName}`);
  handleSignal(signal, handler);
}

/** Has the kernel ignore `signal` for the whole process: a handler, all that Node offers, is not the same for a terminal. */
export function ignoreSignal(signal: number): void {
  const SIG_IGN = 1;
  handleSignal(signal, BigInt(SIG_IGN));
}

function handleSignal(signal: number, handler: bigint): void {
  // struct sigaction of glibc: handler 8 bytes, mask 128 bytes, flags int, restorer 8 bytes. No SA_RESTART:
  // the point of the signal is to interrupt a system call.
  const action = new Uint8Array(152);
  new DataView(action.buffer).setBigUint64(0, handler, true);
  if (sigactionCall(signal, action, null) < 0) throw new SystemError('sigaction', lastErrno(), `signal ${signal}`);
}

const exitCall = declare<[number], void>('void _exit(int)');

/** Ends the process without another word: nothing that waits for its end is run, by Node or by the C library. */
export function exitAtOnce(code: number): void {
  exitCall(code);
}

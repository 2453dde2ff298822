import { gettid, handleSignalWith, signalThread } from '../libc/process.ts';

/**
 * Interrupts a thread that is blocked in a system call, without running JavaScript in a signal handler.
 *
 * The handler is `abs`: a C function of one integer that touches nothing. The kernel must find a handler, for an
 * ignored signal interrupts no system call. SIGRTMIN is free: Node takes SIGUSR1 and V8's profiler SIGPROF.
 */
const kickSignal = 34;

/** Makes the process ready to be kicked. Called once, before a thread blocks. */
export function installKickHandler(): void {
  handleSignalWith(kickSignal, 'abs');
}

/** Kernel id of the calling thread, for {@link kick}. */
export const threadId: () => number = gettid;

/** Interrupts thread `tid` of this process. If it is not in a system call, nothing happens. */
export function kick(tid: number): void {
  signalThread(tid, kickSignal);
}

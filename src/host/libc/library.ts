import koffi, { type LibraryHandle } from 'koffi';

/** The C library, for calls that are declared without a wrapper: those that run once an exit, a packet or a page. */
export const libc: LibraryHandle = koffi.load('libc.so.6');

/** Another shared library, or undefined if the system has none of that name. */
export function loadLibrary(name: string): LibraryHandle | undefined {
  try {
    return koffi.load(name);
  } catch {
    return undefined;
  }
}

type Call<A extends unknown[], R> = (...args: A) => R;

/** A C function by its prototype, declared when it is first called. */
export function declare<A extends unknown[], R>(prototype: string): Call<A, R> {
  let call: Call<A, R> | undefined;
  return (...args) => {
    call ??= libc.func(prototype) as unknown as Call<A, R>;
    return call(...args);
  };
}

/** errno of the last failed call of this thread. */
export const lastErrno: () => number = () => koffi.errno();

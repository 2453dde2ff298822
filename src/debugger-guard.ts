import { tell } from './host/console/tell.ts';

/** Whether a debugger was asked for on Node's own command line. */
const isAskedFor = (argument: string): boolean => /^--inspect(-brk|-wait)?(=|$)/.test(argument);
/** The launcher's first line has Node open a debugger at an address that no host has, so that it cannot. */
const isHarmless = (argument: string): boolean => argument.startsWith('--inspect-port=192.0.2.1:');

/** A SIGUSR1 that came before there was somebody to take it has had its effect by then. */
const lookAgainMs = 1000;

/**
 * Keeps Node from opening its debugger, by which any user of the host could take over the process, unless `node --inspect`
 * says so. Called first of all.
 *
 * With the launcher's first line (docs/decisions.md) there is nothing left to do. This is for `node colo-vmm.cjs`: NODE_OPTIONS
 * with --inspect ends the process, and SIGUSR1 does nothing from here on. One that came earlier ends it a little later.
 */
export function guardAgainstDebugger(): void {
  process.on('SIGUSR1', () => {});
  if (process.execArgv.some(isAskedFor) || process.execArgv.some(isHarmless)) return;
  if (process.env.NODE_OPTIONS?.includes('--inspect')) {
    const url = debuggerUrl();
    if (url !== undefined) {
      tell(complaint(url));
      process.exit(1);
    }
  }
  setTimeout(() => {
    const url = debuggerUrl();
    if (url === undefined) return;
    tell(complaint(url));
    // As if somebody had told it to end: a machine gives everything back.
    process.kill(process.pid, 'SIGTERM');
  }, lookAgainMs).unref();
}

/** Not imported: loading it takes some milliseconds of each start. */
function debuggerUrl(): string | undefined {
  return process.getBuiltinModule('node:inspector').url();
}

function complaint(url: string): string {
  return `colo-vmm: a debugger listens at ${url}, opened by NODE_OPTIONS or SIGUSR1; unset NODE_OPTIONS, or start node with --inspect\n`;
}

/**
 * The lab itself failed: an emulated host did not start, panicked or lost its agent, or a tool of the machine is
 * missing. What is tested has not been judged; a test reports this apart from its own failures.
 */
export class LabError extends Error {
  readonly code = 'LAB_FAILED';
  override readonly name = 'LabError';
}

/** A command did not end in time and was killed. `stdout` and `stderr` hold what it had said by then. */
export class CommandTimeoutError extends Error {
  readonly code = 'COMMAND_TIMEOUT';
  override readonly name = 'CommandTimeoutError';
  readonly stdout: string;
  readonly stderr: string;

  constructor(message: string, stdout: string, stderr: string) {
    super(message);
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

/** A command, or a file's way in or out, ended because its host was switched off on purpose. */
export class HostGoneError extends Error {
  readonly code = 'HOST_GONE';
  override readonly name = 'HostGoneError';
}

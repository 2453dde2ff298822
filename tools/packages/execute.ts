import { spawn } from 'node:child_process';

/** A program of the machine (apt-get, dpkg-deb, mkfs.erofs ...) that failed; the message holds the end of what it said. */
export class ExecuteError extends Error {
  readonly code = 'EXECUTE_FAILED';
  readonly status: number | null;

  constructor(message: string, status: number | null, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ExecuteError';
    this.status = status;
  }
}

export interface ExecuteOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called for each line the program writes to file descriptor 3 (apt's status lines). */
  readonly onStatusLine?: (line: string) => void;
}

const shownTailBytes = 2000;

/** Runs `program` without a shell and without standard input; resolves to its standard output as text. */
export function execute(program: string, args: readonly string[], options: ExecuteOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: 'C', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe', options.onStatusLine === undefined ? 'ignore' : 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const status = child.stdio[3];
    if (options.onStatusLine !== undefined && status && 'setEncoding' in status) {
      const onLine = options.onStatusLine;
      let rest = '';
      status.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) onLine(line);
      });
    }
    child.on('error', (cause) => {
      reject(new ExecuteError(`${program} could not be started: ${cause.message}`, null, { cause }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(stdout);
      const said = (stderr.trim() || stdout.trim()).slice(-shownTailBytes);
      const how = signal === null ? `exit status ${code}` : signal;
      reject(new ExecuteError(`${program} ${args[0] ?? ''} failed (${how}): ${said}`, code));
    });
  });
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tinyElf } from './tiny-elf.ts';

/** The bundle that users run. */
export const bundle = fileURLToPath(new URL('../../dist/colo-vmm.cjs', import.meta.url));

/** A folder that is gone after the test. */
export function temporaryFolder(t: { teardown(clean: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'colo-test-'));
  // What was told to end may still be writing its last file.
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 50, retryDelay: 20 }));
  return folder;
}

/** Writes machine code as a kernel; its path. */
export function kernelFile(folder: string, code: Uint8Array, name = 'guest.elf'): string {
  const path = join(folder, name);
  writeFileSync(path, tinyElf(code));
  return path;
}

/** What a process came to. */
export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface ProcessOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly stdin?: 'pipe' | 'ignore' | number;
  /** Default: {@link bundle}. */
  readonly program?: string;
  /** Run it as a command, which it becomes by its first line, not by naming Node. */
  readonly asCommand?: boolean;
  readonly uid?: number;
  /** What runs it, such as nsenter with its arguments. */
  readonly under?: readonly string[];
}

/** A colo-vmm process with pipes for its input and output. */
export class VmmProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ending>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], options: ProcessOptions = {}) {
    const { under = [] } = options;
    const command = [
      ...under,
      ...(options.asCommand === true ? [] : [process.execPath]),
      options.program ?? bundle,
      ...args,
    ];
    this.child = spawn(command[0] as string, command.slice(1), {
      ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
      stdio: [options.stdin ?? 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    });
    this.child.stdout?.setEncoding('latin1').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.child.stdin?.on('error', () => {});
    this.ended = once(this.child, 'close').then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: this.#stdout,
      stderr: this.#stderr,
    }));
  }

  get pid(): number {
    return this.child.pid as number;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  write(text: string): void {
    this.child.stdin?.write(text, 'latin1');
  }

  /** Resolves when the guest has printed `text`; an error if the process ends first. */
  async printed(text: string): Promise<void> {
    const ended = this.ended.then(({ stdout, stderr }) => {
      if (!stdout.includes(text)) throw new Error(`ended without printing ${JSON.stringify(text)}: ${stdout}${stderr}`);
    });
    while (!this.#stdout.includes(text)) await Promise.race([ended, once(this.child.stdout as never, 'data')]);
  }

  /** Sends a signal and waits for the end; how long that took. */
  async endedBySignal(signal: NodeJS.Signals): Promise<Ending & { readonly tookMs: number }> {
    const started = performance.now();
    this.child.kill(signal);
    const exited = once(this.child, 'exit');
    await exited;
    const tookMs = performance.now() - started;
    return { ...(await this.ended), tookMs };
  }
}

/** Runs colo-vmm to its end, with nothing on its input. */
export function runVmm(args: readonly string[], options: Omit<ProcessOptions, 'stdin'> = {}): Promise<Ending> {
  return new VmmProcess(args, { ...options, stdin: 'ignore' }).ended;
}

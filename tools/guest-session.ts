import type { RemoteProcess } from './lab/connection.ts';

/** A command in the guest gave another status than 0, or the guest did not answer. */
export class GuestError extends Error {
  readonly code = 'GUEST';

  constructor(message: string) {
    super(message);
    this.name = 'GuestError';
  }
}

/** Prompt of the guest's shell (tools/images). */
const prompt = 'guest# ';
const answerPattern = new RegExp(`\\[status (\\d+)\\][\\s\\S]*${prompt}`);

/** A person at the serial console of a guest: waits for its shell, types commands, reads answers. */
export class GuestSession {
  readonly #process: RemoteProcess;
  #said = '';
  #errors = '';
  #ended = false;
  #wake: () => void = () => {};

  /** @param onOutput sees what the guest prints, as it comes */
  constructor(process: RemoteProcess, onOutput: (text: string) => void = () => {}) {
    this.#process = process;
    process.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
      onOutput(text);
      this.#wake();
    });
    process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    process.stdout.on('end', () => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** All that the guest has printed so far. */
  get transcript(): string {
    return this.#said;
  }

  /** What the VMM has said on standard error so far. */
  get errors(): string {
    return this.#errors;
  }

  /** Waits until the shell asks for a command for the first time. */
  async login(timeoutMs: number): Promise<void> {
    await this.#waitFor(() => this.#said.includes(prompt) || undefined, 'its shell', timeoutMs);
    // A shell that edits lines breaks what it echoes at the terminal's edge, and then it cannot be found again.
    await this.run('stty cols 500', timeoutMs);
  }

  /** Types a command after which the guest boots again, and waits for its new shell. */
  async reboot(command: string, timeoutMs: number): Promise<void> {
    const from = this.#said.length;
    this.type(command);
    await this.#waitFor(
      () => this.#said.includes(prompt, from) || undefined,
      `its shell after "${command}"`,
      timeoutMs,
    );
    await this.run('stty cols 500', timeoutMs);
  }

  /** Runs a command in the guest's shell; what it printed. @throws GuestError if it fails or does not end in time */
  async run(command: string, timeoutMs: number): Promise<string> {
    const from = this.#said.length;
    const marker = 'echo "[status $?]"';
    this.type(`${command}; ${marker}`);
    // What was typed is echoed and says "$?"; only the answer has a number there. The next prompt belongs to the answer:
    // what is typed before it is echoed twice.
    const answer = await this.#waitFor(
      () => answerPattern.exec(this.#said.slice(from)) ?? undefined,
      `"${command}"`,
      timeoutMs,
    );
    const lines = this.#said
      .slice(from, from + answer.index)
      .replaceAll('\r', '')
      .split('\n');
    const output = lines
      .slice(lines.findIndex((line) => line.includes(marker)) + 1)
      .join('\n')
      .trim();
    if (answer[1] !== '0') throw new GuestError(`"${command}" in the guest failed with status ${answer[1]}: ${output}`);
    return output;
  }

  /** Types a line. */
  type(line: string): void {
    this.#process.stdin.write(`${line}\n`);
  }

  async #waitFor<T>(found: () => T | undefined, what: string, timeoutMs: number): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const value = found();
      if (value !== undefined) return value;
      const rest = deadline - performance.now();
      if (this.#ended || rest <= 0) {
        const why = this.#ended ? 'ended' : `was silent for ${timeoutMs / 1000} s`;
        throw new GuestError(
          `the guest ${why} before ${what}; it said last:\n${this.#said.slice(-2000)}\n${this.#errors}`,
        );
      }
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, rest);
      });
      clearTimeout(timer);
    }
  }
}

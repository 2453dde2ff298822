/**
 * Reads what a test file prints (TAP 14, as node-tap writes it) and counts its cases.
 *
 *     # Subtest: adds            a test begins; its lines are four columns further in
 *         ok 1 - sum is right    an assertion
 *         1..1
 *     ok 1 - adds                the test's own result
 *
 * A case is a test without tests in it; assertions outside of any make their parent one. Failing assertions come
 * with a block of YAML between `---` and `...`, which is kept as it is.
 */

/** A case that did not pass. */
export interface Failure {
  /** Names of the tests around it, outermost first, and of the assertion. */
  readonly path: readonly string[];
  readonly details: readonly string[];
}

/** A case that did not run. */
export interface Skip {
  readonly path: readonly string[];
  readonly reason: string;
}

/** What became of a file's cases. */
export interface CaseListener {
  passed(path: readonly string[], durationMs: number): void;
  failed(path: readonly string[], durationMs: number): void;
  skipped(skip: Skip): void;
  /** Something that is wrong in a case; one case may have several. */
  failure(failure: Failure): void;
  /** A line that is no TAP: somebody printed. */
  stray(line: string): void;
}

interface OpenTest {
  readonly name: string;
  assertions: number;
  failures: number;
  children: number;
  failedChildren: Set<string>;
  skips: string[];
}

const indentColumns = 4;
const point = /^(not )?ok\b(?: \d+)?(?: - (.*?))?(?: # time=([\d.]+)ms)?(?: # (SKIP|TODO)\b ?(.*))?$/;
/** How node-tap marks what `--grep` left out. */
const filtered = /^filter\b/;

/** Feed it lines, then call {@link end}. */
export class TapCases {
  readonly #listener: CaseListener;
  readonly #open: OpenTest[] = [newTest('')];
  #details: { readonly end: string; readonly lines: string[]; readonly done: (lines: string[]) => void } | undefined;
  #afterPoint: { readonly start: string; readonly done: (lines: string[]) => void } | undefined;
  #plans = 0;

  constructor(listener: CaseListener) {
    this.#listener = listener;
  }

  /** False as long as the file has not said how many tests it meant to run: then it ended too early. */
  get complete(): boolean {
    return this.#plans > 0;
  }

  line(line: string): void {
    if (this.#details !== undefined) {
      if (line !== this.#details.end) this.#details.lines.push(line.slice(this.#details.end.length - 3));
      else this.#settleDetails();
      return;
    }
    if (this.#afterPoint !== undefined) {
      const { start, done } = this.#afterPoint;
      this.#afterPoint = undefined;
      if (line === start) {
        this.#details = { end: start.replace('---', '...'), lines: [], done };
        return;
      }
      done([]);
    }
    const text = line.trimStart();
    const depth = (line.length - text.length) / indentColumns;
    if (text === '' || /^(TAP version|pragma) /.test(text)) return;
    if (text.startsWith('# Subtest: ')) {
      this.#open.length = depth + 1;
      this.#open.push(newTest(unescaped(text.slice('# Subtest: '.length))));
    } else if (/^1\.\.\d+/.test(text)) {
      if (depth === 0) this.#plans++;
    } else if (text.startsWith('Bail out!')) {
      this.#failure([], [text]);
    } else if (/^# (time=|\{ total)/.test(text)) {
      // the file's own sums
    } else {
      const match = point.exec(text);
      if (match === null || !Number.isInteger(depth) || depth >= this.#open.length) this.#listener.stray(line);
      else this.#point(depth, match);
    }
  }

  /** The file is over. */
  end(): void {
    if (this.#details !== undefined) this.#settleDetails();
    this.#afterPoint?.done([]);
    this.#afterPoint = undefined;
    while (this.#open.length > 1) this.#close(this.#open.length - 1, false, 0);
    const root = this.#open[0] as OpenTest;
    if (root.failures > 0) this.#listener.failed(['(outside of any test)'], 0);
    else if (root.assertions > 0) this.#listener.passed(['(outside of any test)'], 0);
  }

  #settleDetails(): void {
    const settled = this.#details;
    this.#details = undefined;
    settled?.done(settled.lines);
  }

  #point(depth: number, [, not, rawName = '', time, directive, reason = '']: RegExpExecArray): void {
    const ok = not === undefined || directive === 'TODO';
    const name = unescaped(rawName);
    const child = this.#open[depth + 1];
    const parent = this.#open[depth] as OpenTest;
    if (child !== undefined && child.name === name) {
      if (directive === 'SKIP' && child.assertions === 0 && child.skips.length === 0) child.skips.push(reason);
      this.#close(depth + 1, ok, Number(time ?? 0));
      this.#ignoreDetails(depth);
    } else if (directive !== undefined) {
      const why = directive === 'TODO' ? 'to do' : reason || name;
      if (filtered.test(why)) return;
      // `t.skip('reason')` in a test skips that test; `t.test(name, { skip })` is a case of its own.
      if (depth > 0 && reason === '' && directive === 'SKIP') parent.skips.push(name);
      else {
        parent.children++;
        this.#listener.skipped({ path: [...this.#path(depth), name], reason: why });
      }
    } else if (ok) {
      parent.assertions++;
    } else if (parent.failedChildren.has(name)) {
      this.#ignoreDetails(depth); // node-tap repeats the result of a test that ran out of time
    } else {
      parent.assertions++;
      parent.failures++;
      const path = [...this.#path(depth), name];
      this.#afterPoint = {
        start: `${' '.repeat(depth * indentColumns)}  ---`,
        done: (lines) => this.#failure(path, lines),
      };
    }
  }

  #close(depth: number, ok: boolean, durationMs: number): void {
    const path = this.#path(depth);
    const test = this.#open[depth] as OpenTest;
    const parent = this.#open[depth - 1] as OpenTest;
    this.#open.length = depth;
    parent.children++;
    const broken = test.failures > 0 || (!ok && test.failedChildren.size === 0);
    if (!ok || broken) parent.failedChildren.add(test.name);
    if (broken && test.failures === 0) this.#failure(path, ['ended without a result']);
    if (broken) this.#listener.failed(path, durationMs);
    else if (test.assertions > 0) this.#listener.passed(path, durationMs);
    else if (test.skips.length > 0) this.#listener.skipped({ path, reason: test.skips.join('; ') });
    else if (test.children === 0) {
      this.#failure(path, ['asserts nothing: a test that cannot fail']);
      this.#listener.failed(path, durationMs);
    }
  }

  /** Reads over the block that may follow a point. */
  #ignoreDetails(depth: number): void {
    this.#afterPoint = { start: `${' '.repeat(depth * indentColumns)}  ---`, done: () => {} };
  }

  #failure(path: readonly string[], details: readonly string[]): void {
    this.#listener.failure({ path, details });
  }

  #path(depth: number): string[] {
    return this.#open.slice(1, depth + 1).map((test) => test.name);
  }
}

function newTest(name: string): OpenTest {
  return { name, assertions: 0, failures: 0, children: 0, failedChildren: new Set(), skips: [] };
}

function unescaped(name: string): string {
  return name.replace(/\\([#\\])/g, '$1').trim();
}

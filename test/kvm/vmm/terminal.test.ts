import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { echoing, printing } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { forAWhile, until } from '../../support/machines.ts';
import { bundle, kernelFile, temporaryFolder } from '../../support/vmm-process.ts';

const noScript =
  spawnSync('script', ['--version']).status === 0
    ? false
    : 'no script(1) to make a terminal with: apt-get install bsdutils';
const skip = noKvm() || noScript;

/** A VMM at a terminal of its own, which script(1) makes. */
class Terminal {
  readonly #child: ReturnType<typeof spawn>;
  readonly #folder: string;
  #screen = '';

  /** @param background the VMM starts in the background, and comes to the foreground after a line is typed */
  constructor(t: Parameters<typeof temporaryFolder>[0], code: Uint8Array, stderr = '/dev/tty', background = false) {
    this.#folder = temporaryFolder(t);
    const kernel = kernelFile(this.#folder, code);
    const file = (name: string): string => join(this.#folder, name);
    const vmm = `'${process.execPath}' '${bundle}' run --kernel '${kernel}' --memory 16M 2>'${stderr}'`;
    const run = `sh -c 'echo $$ > ${file('pid')}; exec ${vmm.replaceAll("'", '"')}'`;
    const steps = [
      `tty > '${file('tty')}'`,
      `stty -g > '${file('before')}'`,
      background ? `set -m; ${run} & read line; fg` : run,
      `echo $? > '${file('code')}'`,
      `stty -g > '${file('after')}'`,
    ];
    this.#child = spawn('script', ['-qefc', steps.join('; '), '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout?.setEncoding('latin1').on('data', (text: string) => {
      this.#screen += text;
    });
    t.teardown(() => this.#child.kill('SIGKILL'));
  }

  type(text: string): void {
    this.#child.stdin?.write(text, 'latin1');
  }

  async shows(text: string): Promise<void> {
    await until(() => this.#screen.includes(text));
  }

  /** What `stty -a` says of the terminal now. */
  get settings(): string {
    // The shell that writes down which one it is may not have come so far.
    const file = join(this.#folder, 'tty');
    if (!existsSync(file) || readFileSync(file).length === 0) return '';
    return execFileSync('stty', ['-F', this.#read('tty'), '-a'], { encoding: 'utf8' });
  }

  set(settings: string): void {
    execFileSync('stty', ['-F', this.#read('tty'), settings]);
  }

  get vmmPid(): number {
    return Number(this.#read('pid'));
  }

  /** Waits for the end: the exit code, and the terminal's settings around the VMM. */
  async ended(): Promise<{ code: number; before: string; after: string }> {
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
    return { code: Number(this.#read('code')), before: this.#read('before'), after: this.#read('after') };
  }

  /** The window is closed. */
  hangUp(): void {
    this.#child.kill('SIGKILL');
  }

  #read(name: string): string {
    return readFileSync(join(this.#folder, name), 'utf8').trim();
  }
}

/** Waits until the guest echoes: then the terminal is raw. */
async function ready(terminal: Terminal): Promise<void> {
  await forAWhile(100);
  terminal.type('!');
  await terminal.shows('!');
  await until(() => terminal.settings.includes('-icanon'));
}

test('makes the terminal raw for the guest, and gives it back after Ctrl-A x', { skip }, async (t) => {
  const terminal = new Terminal(t, echoing());
  await ready(terminal);
  for (const off of ['-icanon', '-echo', '-isig', '-opost']) t.match(terminal.settings, off);

  terminal.type('\x01x');

  const { code, before, after } = await terminal.ended();
  t.equal(code, 0);
  t.equal(after, before);
});

test('gives the terminal back when the guest powers off', { skip }, async (t) => {
  const { code, before, after } = await new Terminal(t, printing('bye')).ended();
  t.equal(code, 0);
  t.equal(after, before);
});

for (const [signal, exitCode] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGQUIT', 131],
  ['SIGUSR2', 140],
] as const) {
  test(`gives the terminal back after ${signal}`, { skip }, async (t) => {
    const terminal = new Terminal(t, echoing());
    await ready(terminal);
    process.kill(terminal.vmmPid, signal);
    const { code, before, after } = await terminal.ended();
    t.equal(code, exitCode);
    t.equal(after, before);
  });
}

test('brings Ctrl-C, Ctrl-D and Ctrl-Z to the guest, and Ctrl-A by Ctrl-A a', { skip }, async (t) => {
  const terminal = new Terminal(t, echoing());
  await ready(terminal);
  terminal.type('<\x03\x04\x1a\x01a>');
  await terminal.shows('<\x03\x04\x1a\x01>');
  terminal.type('q');
  t.equal((await terminal.ended()).code, 0);
});

test('passes every byte to the terminal as the guest sent it, and begins lines of its own', { skip }, async (t) => {
  const terminal = new Terminal(t, echoing());
  await ready(terminal);
  terminal.type('<\n\r\n>');
  await terminal.shows('<\n\r\n>');
  terminal.type('\x01h');
  await terminal.shows('end the virtual machine\r\n');
  terminal.type('q');
  const { after, before } = await terminal.ended();
  t.equal(after, before);
});

test('makes the terminal raw again after it was stopped and continued', { skip }, async (t) => {
  const terminal = new Terminal(t, echoing());
  await ready(terminal);
  process.kill(terminal.vmmPid, 'SIGSTOP');
  await until(() => stateOf(terminal.vmmPid) === 'T');
  terminal.set('sane');
  process.kill(terminal.vmmPid, 'SIGCONT');
  await until(() => terminal.settings.includes('-icanon'));
  terminal.type('<\x03\n>');
  await terminal.shows('<\x03\n>');
  terminal.type('q');
  const { code, after, before } = await terminal.ended();
  t.equal(code, 0);
  t.equal(after, before);
});

test('runs on in the background of a shell, and has its keys in the foreground', { skip }, async (t) => {
  const terminal = new Terminal(t, echoing('here I am'), '/dev/tty', true);
  await terminal.shows('here I am');
  await forAWhile(500);
  t.not(stateOf(terminal.vmmPid), 'T');
  t.notMatch(terminal.settings, '-icanon');
  terminal.type('\n');
  await until(() => terminal.settings.includes('-icanon'));
  terminal.type('<\x03>');
  await terminal.shows('<\x03>');
  terminal.type('q');
  const { code, after, before } = await terminal.ended();
  t.equal(code, 0);
  t.equal(after, before);
});

test('shows its keys on Ctrl-A h', { skip }, async (t) => {
  const terminal = new Terminal(t, echoing());
  await ready(terminal);
  terminal.type('\x01h');
  await terminal.shows('Ctrl-A x   end the virtual machine');
  terminal.type('still here');
  await terminal.shows('still here');
  terminal.type('q');
  t.equal((await terminal.ended()).code, 0);
});

test('ends quietly when its terminal is closed', { skip }, async (t) => {
  const stderr = join(temporaryFolder(t), 'stderr');
  const terminal = new Terminal(t, echoing(), stderr);
  await ready(terminal);
  const pid = terminal.vmmPid;
  const started = performance.now();
  terminal.hangUp();
  await until(() => isGone(pid));
  const tookMs = performance.now() - started;
  t.ok(tookMs < 1000, `took ${tookMs} ms`);
  t.match(readFileSync(stderr, 'utf8'), /^colo-vmm: stopped by [^\n]+\ncolo-vmm: [^\n]+\n$/);
});

/** One letter, as ps(1) shows it: T is stopped. */
function stateOf(pid: number): string | undefined {
  return /\) (\w) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1];
}

/** True if the process has ended, though whoever inherited it may not have noticed. */
function isGone(pid: number): boolean {
  try {
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return true;
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { Test } from 'tap';
import { imageSuites } from '../../tools/images/kernel.ts';
import { fetchPackages } from '../../tools/packages/package-set.ts';

/** A command of the browser's debugging protocol, or an event: names and parameters are those of its documentation. */
interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly sessionId?: string;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string };
}

/** The folder with Debian's chromium, fetched by its name; as an object, why it cannot be had. */
export async function debianChromium(): Promise<string | { readonly reason: string }> {
  try {
    return (await fetchPackages({ names: ['chromium-headless-shell'], suites: imageSuites })).root;
  } catch (error) {
    return { reason: `Debian's chromium cannot be fetched: ${(error as Error).message}` };
  }
}

/** How a page is shown. */
export interface Screen {
  readonly width: number;
  readonly height: number;
  readonly isPhone?: boolean;
  readonly isDark?: boolean;
}

/** Debian's chromium without a screen, from packages that are not installed; it speaks over a pipe. */
export class Chromium {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (result: Message) => void; reject: (error: Error) => void }>();
  #listeners: ((message: Message) => void)[] = [];
  #commands = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    let rest = '';
    (child.stdio[4] as Readable).setEncoding('utf8').on('data', (text: string) => {
      const messages = (rest + text).split('\0');
      rest = messages.pop() ?? '';
      for (const message of messages) this.#take(JSON.parse(message) as Message);
    });
    child.once('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the browser has ended'));
    });
  }

  /** Ends with the test. @param root the folder that {@link debianChromium} gave */
  static start(t: Test, root: string): Chromium {
    const home = mkdtempSync(join(tmpdir(), 'colo-test-'));
    const libraries = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu/pulseaudio'];
    const flags = ['--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--remote-debugging-pipe'];
    const child = spawn(
      join(root, 'usr/lib/chromium/chromium-headless-shell'),
      [...flags, `--user-data-dir=${join(home, 'profile')}`],
      {
        // It has many processes, which are to end with it.
        detached: true,
        stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
        env: { HOME: home, TZ: 'UTC', LD_LIBRARY_PATH: libraries.map((folder) => join(root, folder)).join(':') },
      },
    );
    t.teardown(async () => {
      const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
      killGroup(child);
      await exited;
      // Processes of its own that have not quite ended may put something into a folder that was just emptied.
      rmSync(home, { recursive: true, force: true, maxRetries: 50, retryDelay: 20 });
    });
    (child.stdio[3] as Writable).on('error', () => {});
    return new Chromium(child);
  }

  /** Opens a page. */
  async open(url: string, screen: Screen): Promise<BrowserPage> {
    const { targetId } = await this.say('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.say('Target.attachToTarget', { targetId, flatten: true });
    const page = new BrowserPage(this, sessionId as string);
    this.#listeners.push((message) => page.hear(message));
    await page.begin(url, screen);
    return page;
  }

  /** @throws Error with what the browser says */
  say(
    method: string,
    params: Readonly<Record<string, unknown>> = {},
    sessionId?: string,
  ): Promise<Readonly<Record<string, unknown>>> {
    const id = ++this.#commands;
    (this.#child.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: ({ result = {} }) => resolve(result), reject });
    });
  }

  #take(message: Message): void {
    if (message.id === undefined) {
      for (const listener of this.#listeners) listener(message);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error === undefined) waiting?.resolve(message);
    else waiting?.reject(new Error(message.error.message));
  }
}

/** A page that is open. */
export class BrowserPage {
  /** Addresses of all that it asked for. */
  readonly asked: string[] = [];
  /** Exceptions, and what the browser complains of. */
  readonly complaints: string[] = [];
  readonly #browser: Chromium;
  readonly #session: string;

  constructor(browser: Chromium, session: string) {
    this.#browser = browser;
    this.#session = session;
  }

  hear({ method, params, sessionId }: Message): void {
    if (sessionId !== this.#session) return;
    if (method === 'Network.requestWillBeSent') {
      this.asked.push((params?.request as { readonly url: string } | undefined)?.url ?? '');
    }
    if (method === 'Runtime.exceptionThrown' || method === 'Log.entryAdded')
      this.complaints.push(JSON.stringify(params));
  }

  async begin(url: string, screen: Screen): Promise<void> {
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await this.#say(`${domain}.enable`);
    await this.show(screen);
    await this.#say('Page.navigate', { url });
  }

  /** On another screen from now on. */
  async show({ width, height, isPhone = false, isDark = false }: Screen): Promise<void> {
    await this.#say('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: isPhone });
    const value = isDark ? 'dark' : 'light';
    await this.#say('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
  }

  /** What an expression of JavaScript is there. */
  async evaluate(expression: string): Promise<unknown> {
    const { result } = await this.#say('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    return (result as { readonly value?: unknown }).value;
  }

  /** Waits until that expression is true there. */
  async until(expression: string): Promise<void> {
    while ((await this.evaluate(expression)) !== true) await new Promise((resolve) => setTimeout(resolve, 50));
  }

  /** What it looks like, as PNG. */
  async picture(): Promise<Buffer> {
    const { data } = await this.#say('Page.captureScreenshot', { format: 'png' });
    return Buffer.from(data as string, 'base64');
  }

  #say(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<Readonly<Record<string, unknown>>> {
    return this.#browser.say(method, params, this.#session);
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { execute } from '../../packages/execute.ts';

/** Room for a few pairs' disks and states, which come and go. */
const sizeBytes = 128 << 20;

/**
 * Stops and lets go the file system it is told of. Whatever becomes of us, it goes on in the end: nothing that waits for a file system
 * that is stopped can be killed, and one that nobody lets go stays so until the machine is started anew.
 */
const valve = `
while read -r word; do
  case $word in
    stop) fsfreeze -f "$0" ;;
    go) fsfreeze -u "$0" ;;
  esac && echo done || echo failed
done
fsfreeze -u "$0" 2>/dev/null`;

/**
 * The disk of one host: a file system of its own, which can be stopped. What is written to it, or is to become durable there, waits then,
 * and so does the end of whoever writes. It is read as before.
 */
export class HostDisk {
  /** Where it is mounted. */
  readonly folder: string;
  readonly #valve: ChildProcess;
  readonly #answers: Interface;
  #stopped = false;

  private constructor(folder: string) {
    this.folder = folder;
    this.#valve = spawn('sh', ['-c', valve, folder], {
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true, // no Ctrl-C: it is ended last
    });
    this.#answers = createInterface(this.#valve.stdout as never);
  }

  /**
   * In a mount namespace of our own.
   *
   * @param folder for it, and for what it is made of
   * @returns why there is none to be had, if it is so
   */
  static async make(folder: string): Promise<HostDisk | string> {
    mkdirSync(folder, { recursive: true });
    const image = join(folder, 'image');
    const mountPoint = join(folder, 'disk');
    mkdirSync(mountPoint);
    const file = openSync(image, 'w');
    ftruncateSync(file, sizeBytes);
    closeSync(file);
    try {
      await execute('fsfreeze', ['--version']);
      await execute('mkfs.ext4', ['-q', '-F', image]);
      await execute('mount', ['-o', 'loop', image, mountPoint]);
    } catch (error) {
      return `no file system can be made that stops: ${(error as Error).message.split('\n', 1)[0]}`;
    }
    return new HostDisk(mountPoint);
  }

  get isStopped(): boolean {
    return this.#stopped;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#say('stop');
  }

  async go(): Promise<void> {
    await this.#say('go');
    this.#stopped = false;
  }

  /** Nobody may have anything open there. */
  async close(): Promise<void> {
    this.#valve.stdin?.end();
    await once(this.#valve, 'exit');
    await execute('umount', [this.folder]);
  }

  async #say(word: 'stop' | 'go'): Promise<void> {
    const answer = once(this.#answers, 'line');
    this.#valve.stdin?.write(`${word}\n`);
    const [said] = await answer;
    if (said !== 'done') throw new Error(`fsfreeze: ${this.folder}: ${word} failed`);
  }
}

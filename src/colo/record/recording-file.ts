import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { ConfigError } from '../../vmm/config/config.ts';
import { sectionMagic } from './pcapng.ts';

/**
 * Makes the file of `--pcap` empty, as the beginning of this process's recording. What is in it must be an older one.
 *
 * @throws ConfigError if it cannot be written, or is something else
 */
export function beginRecordingFile(path: string): void {
  const refusal = (why: string): ConfigError => new ConfigError(`--pcap ${path}: ${why}`);
  let fd: number;
  try {
    // Of a FIFO without a reader nobody would hear.
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NONBLOCK, 0o600);
  } catch (error) {
    throw refusal(`it cannot be written: ${(error as Error).message.split(',')[0]}`);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw refusal('it is no file; give the path of one');
    const head = new Uint8Array(sectionMagic.length);
    readSync(fd, head, 0, head.length, 0);
    if (stat.size > 0 && Buffer.compare(head, sectionMagic) !== 0) {
      throw refusal('it is there already, and no pcapng file; give another path');
    }
    ftruncateSync(fd, 0);
  } finally {
    closeSync(fd);
  }
}

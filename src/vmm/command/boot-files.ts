import { FileSource } from '../../host/files/file-bytes.ts';
import { type Closable, Owner } from '../../host/ownership.ts';
import type { BootPaths } from '../config/boot-paths.ts';
import { ConfigError } from '../config/config.ts';
import type { BootDescriptors, BootSource, OpenImages } from '../machine/machine-shape.ts';

/**
 * The files that a machine boots. They are opened once and stay open, so that a machine that is reset boots the files that
 * it was started with, also if others have their names by then; their bytes are in memory only while they are loaded.
 */
export class BootFiles implements BootSource, Closable {
  readonly #paths: BootPaths;
  readonly #owner = new Owner();
  #files: { kernel: FileSource; initrd: FileSource | undefined } | undefined;

  constructor(paths: BootPaths) {
    this.#paths = paths;
  }

  /** @throws ConfigError that names the flag and the file */
  open(): OpenImages {
    const owner = new Owner();
    try {
      const { kernel, initrd } = this.#open();
      const bytesOf = (flag: 'kernel' | 'initrd', path: string, source: FileSource) => ({
        name: path,
        bytes: owner.own(explained(flag, path, () => source.read())).bytes,
      });
      const paths = this.#paths;
      return {
        kernel: bytesOf('kernel', paths.kernel, kernel),
        ...(initrd === undefined ? {} : { initrd: bytesOf('initrd', paths.initrd ?? '', initrd) }),
        commandLine: paths.cmdline,
        kaslr: paths.kaslr === 'on',
        close: () => owner.close(),
      };
    } catch (error) {
      owner.close();
      throw error;
    }
  }

  get descriptors(): BootDescriptors {
    const { kernel, initrd } = this.#open();
    const paths = this.#paths;
    return {
      kernel: { name: paths.kernel, fd: kernel.fd },
      ...(initrd === undefined ? {} : { initrd: { name: paths.initrd ?? '', fd: initrd.fd } }),
      commandLine: paths.cmdline,
      kaslr: paths.kaslr === 'on',
    };
  }

  close(): void {
    this.#owner.close();
  }

  #open(): { kernel: FileSource; initrd: FileSource | undefined } {
    if (this.#files !== undefined) return this.#files;
    const { kernel, initrd } = this.#paths;
    const fileOf = (flag: 'kernel' | 'initrd', path: string): FileSource =>
      this.#owner.own(explained(flag, path, () => new FileSource(path)));
    this.#files = {
      kernel: fileOf('kernel', kernel),
      initrd: initrd === undefined ? undefined : fileOf('initrd', initrd),
    };
    return this.#files;
  }
}

function explained<T>(flag: 'kernel' | 'initrd', path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'no permission to read it' : (error as Error).message;
    throw new ConfigError(`--${flag} ${path}: ${reason}`);
  }
}

import { randomUUID } from 'node:crypto';
import { openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { EOPNOTSUPP, errnoName } from '../../host/errno.ts';
import { FileSource } from '../../host/files/file-bytes.ts';
import { FileCalls } from '../../host/files/file-calls.ts';
import { makeFolders } from '../../host/files/make-folders.ts';
import type { Fd } from '../../host/libc/descriptors.ts';
import { Owner } from '../../host/ownership.ts';
import type { BootDescriptors, BootSource, OpenImages } from '../../vmm/machine/machine-shape.ts';
import type { BootFile, BootSizes } from '../protocol/messages.ts';

/**
 * What P's guest boots, on S: in files without a name, which take no memory and are gone with the process. Somebody else writes them
 * (memory/boot-receiver.ts); a machine that speaks for itself begins anew from them, and its next standby gets them from there.
 */
export class KeptBoot implements BootSource {
  readonly descriptors: BootDescriptors;
  readonly #owner = new Owner();
  readonly #kernel: FileSource;
  readonly #initrd: FileSource | undefined;

  /** @throws Error with a remedy if there is no room for them in the folder */
  constructor(folder: string, { kernel, initrd, commandLine, kaslr }: BootSizes) {
    try {
      makeFolders(folder, 0o700);
      this.#kernel = this.#owner.own(roomFor(folder, kernel));
      this.#initrd = initrd && this.#owner.own(roomFor(folder, initrd));
    } catch (error) {
      this.#owner.close();
      const bytes = kernel.sizeBytes + (initrd?.sizeBytes ?? 0);
      throw new Error(
        `${folder} takes no kernel and initrd of ${Math.ceil(bytes / 2 ** 20)} MiB (${(error as Error).message}): make room, or give another --state`,
      );
    }
    this.descriptors = {
      kernel: { name: kernel.name, fd: this.#kernel.fd },
      ...(initrd === undefined || this.#initrd === undefined
        ? {}
        : { initrd: { name: initrd.name, fd: this.#initrd.fd } }),
      commandLine,
      kaslr,
    };
  }

  open(): OpenImages {
    const owner = new Owner();
    try {
      const { kernel, initrd, commandLine, kaslr } = this.descriptors;
      return {
        kernel: { name: kernel.name, bytes: owner.own(this.#kernel.read()).bytes },
        ...(initrd === undefined || this.#initrd === undefined
          ? {}
          : { initrd: { name: initrd.name, bytes: owner.own(this.#initrd.read()).bytes } }),
        commandLine,
        kaslr: kaslr === true,
        close: () => owner.close(),
      };
    } catch (error) {
      owner.close();
      throw error;
    }
  }

  close(): void {
    this.#owner.close();
  }
}

/** An empty file whose space is taken already. */
function roomFor(folder: string, { sizeBytes }: BootFile): FileSource {
  const path = join(folder, `boot-${randomUUID()}`);
  const file = new FileSource(openSync(path, 'wx+', 0o600) as Fd);
  try {
    unlinkSync(path);
    const result = sizeBytes === 0 ? 0 : new FileCalls().allocate(file.fd, 0, 0, sizeBytes);
    // What such a file system has no room for is found when it is written.
    if (result < 0 && result !== -EOPNOTSUPP) throw new Error(errnoName(-result));
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

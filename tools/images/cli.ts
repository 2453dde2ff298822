import { statSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { runTask } from '../packages/task.ts';
import { buildGuestInitramfs, type ImageFile } from './initramfs.ts';
import { guestKernel, type KernelFlavour } from './kernel.ts';
import { rootFsImage } from './root-fs.ts';

/** `list` as words; commas or blanks part them. */
function words(list: string): string[] {
  return list.split(/[\s,]+/).filter(Boolean);
}

function flavour(value: string): KernelFlavour {
  if (value === 'cloud' || value === 'generic') return value;
  throw new InvalidArgumentError('it is cloud or generic.');
}

/** `source=target`, a file of this machine and its place in the image. */
function imageFile(value: string, earlier: readonly ImageFile[]): ImageFile[] {
  const match = /^([^=]+)=(\/?[^=]+)$/.exec(value);
  if (match === null) throw new InvalidArgumentError('write SOURCE=TARGET, such as ./motd=/etc/motd.');
  const [, source = '', path = ''] = match;
  if (!statSync(source, { throwIfNoEntry: false })?.isFile()) {
    throw new InvalidArgumentError(`there is no file ${source}.`);
  }
  return [...earlier, { source, path }];
}

const program = new Command('npm run image --').description(
  'Make what a guest boots from, out of Debian packages, and print its path.',
);

program
  .command('kernel')
  .description("Debian's stock kernel")
  .option('--flavour <name>', 'cloud (drivers of virtual machines) or generic', flavour, 'cloud')
  .option('--refresh', 'ask the mirror for a newer one')
  .action(async (options: { flavour: KernelFlavour; refresh?: boolean }) => {
    const path = await runTask("Debian's kernel", (progress) =>
      guestKernel(options.flavour, { progress, refresh: options.refresh ?? false }),
    );
    process.stdout.write(`${path}\n`);
  });

program
  .command('initramfs')
  .description('a root file system of busybox and what is chosen here; it ends in a shell on the console')
  .option('--modules <list>', 'kernel modules to load, with what they need', words, [])
  .option('--packages <list>', 'Debian packages to unpack, with what they need', words, [])
  .option('--file <source=target>', 'a file of this machine to put in; repeatable', imageFile, [])
  .option('--flavour <name>', 'the kernel the modules are for: cloud or generic', flavour, 'cloud')
  .action(async (options: { modules: string[]; packages: string[]; file: ImageFile[]; flavour: KernelFlavour }) => {
    const { modules, packages, file: files, flavour: kernel } = options;
    const path = await runTask('guest initramfs', (progress) =>
      buildGuestInitramfs({ modules, packages, files, kernel, progress }),
    );
    process.stdout.write(`${path}\n`);
  });

program
  .command('rootfs')
  .description('an ext4 image of Debian with systemd, nginx and redis-server; needs root, once')
  .option('--refresh', 'ask the mirror for newer packages')
  .action(async (options: { refresh?: boolean }) => {
    const path = await runTask('Debian root file system', (progress) =>
      rootFsImage({ progress, refresh: options.refresh ?? false }),
    );
    process.stdout.write(`${path}\n`);
  });

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}

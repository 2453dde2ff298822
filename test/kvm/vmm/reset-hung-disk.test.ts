import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { MiB } from '../../../src/memory/address.ts';
import { spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, bootSource, forAWhile, takeOutput, until } from '../../support/machines.ts';
import { noMount } from '../../support/small-file-system.ts';
import { tinyElf } from '../../support/tiny-elf.ts';
import { checkingDisk, writingDisk } from '../../support/virtio-guests.ts';
import { temporaryFolder } from '../../support/vmm-process.ts';

const sector = 2048;
const data = Uint8Array.from({ length: 4096 }, (_, index) => (index * 13) & 0xff);

/** A file system whose writes wait for as long as it is frozen, with a disk on it. */
interface FreezingDisk {
  readonly path: string;
  freeze(): void;
  thaw(): void;
}

function freezingDisk(t: { teardown(clean: () => void): void }): FreezingDisk | string {
  const folder = temporaryFolder(t);
  const image = join(folder, 'file-system');
  const fd = openSync(image, 'w');
  ftruncateSync(fd, 16 * MiB);
  closeSync(fd);
  const made = spawnSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', image]);
  const mountPoint = execFileSync('mktemp', ['-d', '-p', folder], { encoding: 'utf8' }).trim();
  const mounted = spawnSync('mount', ['-o', 'loop', image, mountPoint], { encoding: 'utf8' });
  if (made.status !== 0 || mounted.status !== 0) return `no ext4 can be mounted here: ${mounted.stderr}`;
  const thaw = (): void => {
    spawnSync('fsfreeze', ['-u', mountPoint]);
  };
  t.teardown(() => {
    thaw();
    spawnSync('umount', ['-l', mountPoint]);
  });
  const path = join(mountPoint, 'disk.img');
  const disk = openSync(path, 'w');
  ftruncateSync(disk, 4 * MiB);
  closeSync(disk);
  return { path, freeze: () => execFileSync('fsfreeze', ['-f', mountPoint]), thaw };
}

/** Threads of this process that wait in the kernel, and that no signal ends. Any may, for a moment. */
function waiting(): string[] {
  return readdirSync('/proc/self/task').filter((task) => {
    try {
      return /^State:\s+D/m.test(readFileSync(`/proc/self/task/${task}/status`, 'utf8'));
    } catch {
      return false;
    }
  });
}

/** One of them waits whenever it is looked at. */
async function waitsForDisk(): Promise<boolean> {
  let always = waiting();
  for (let looks = 0; looks < 30 && always.length > 0; looks++) {
    await forAWhile(20);
    const now = waiting();
    always = always.filter((task) => now.includes(task));
  }
  return always.length > 0;
}

const skip = noKvm() || noMount();

test('a reset waits for no hung disk, which still gets what the guest wrote that is gone', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const disk = freezingDisk(t);
  if (typeof disk === 'string') {
    t.comment(disk);
    return;
  }
  const notices: string[] = [];
  const machine = bootMachine(t, writingDisk(sector, data), {
    devices: {
      disks: [{ path: disk.path, readonly: false, direct: false, werror: 'enospc' }],
      nets: [],
      rng: { kind: 'none' },
    },
    notice: (text) => notices.push(text),
    starts: () => disk.freeze(),
  });
  // The next guests have nothing where this one had its data, but for the last one, which looks for what this one wrote.
  const guests = [spinning(), spinning(), spinning(), checkingDisk(sector, data)];
  machine.rebootsFrom({
    ...bootSource(t, { kernel: { name: 'guest', bytes: tinyElf(spinning()) }, commandLine: '' }),
    open: () => ({
      kernel: { name: 'guest', bytes: tinyElf(guests.shift() ?? spinning()) },
      commandLine: '',
      close: () => {},
    }),
  });
  while (!(await waitsForDisk()));
  const before = machine.ram.shared.address;

  machine.reset('the test');

  t.equal(machine.state, 'running', notices.join());
  t.not(machine.ram.shared.address, before, 'the write has the RAM that it is at');
  machine.reset('the test');
  const moved = machine.ram.shared.address;
  machine.reset('the test');
  t.equal(machine.ram.shared.address, moved, 'once: the new guests have nothing on its way');
  t.ok(await waitsForDisk(), 'the disk hangs still');

  disk.thaw();
  const written = new Uint8Array(data.length);
  const file = openSync(disk.path, 'r');
  await until(() => readSync(file, written, 0, written.length, sector * 512) > 0 && written.some((byte) => byte !== 0));
  closeSync(file);
  t.strictSame(written, data, 'the write took what was there when the guest wrote');
  machine.reset('the test');

  t.strictSame(await machine.ended, { kind: 'power-off' });
  t.equal(takeOutput(machine), 'OK');
  t.strictSame(notices, []);
});

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';

/** Why there are no loop devices to be had; false if there are. */
export function noLoopDevices(): string | false {
  const folder = mkdtempSync(join(tmpdir(), 'colo-loop-'));
  try {
    const path = join(folder, 'image');
    writeFileSync(path, '');
    truncateSync(path, 1 << 20);
    const { status, stdout, stderr, error } = spawnSync(
      'losetup',
      ['--sector-size', '4096', '--find', '--show', path],
      {
        encoding: 'utf8',
      },
    );
    if (status !== 0) return `no loop device of sectors of 4096 bytes: ${error?.message ?? stderr.trim()}`;
    execFileSync('losetup', ['--detach', stdout.trim()]);
    return false;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A loop device over `path` with sectors of `sectorBytes`, until the test ends. */
export function loopDevice(t: Test, path: string, sectorBytes: number): string {
  const options = ['--sector-size', `${sectorBytes}`, '--find', '--show', path];
  const device = execFileSync('losetup', options, { encoding: 'utf8' }).trim();
  t.teardown(() => execFileSync('losetup', ['--detach', device]));
  return device;
}

// The file system is mounted nowhere else, and there as long as the device is.
const overSmall =
  'mount -t tmpfs -o size=1m none /mnt && truncate -s 8M /mnt/image && losetup --find --show /mnt/image';

/** Why there is no {@link losingDevice} to be had; false if there is. */
export function noLosingDevice(): string | false {
  const { status, stdout, stderr, error } = spawnSync('unshare', ['-m', 'sh', '-c', overSmall], { encoding: 'utf8' });
  if (status !== 0) return `no loop device over a small file system: ${error?.message ?? stderr.trim()}`;
  execFileSync('losetup', ['--detach', stdout.trim()]);
  return false;
}

/**
 * A device of 8 MiB whose disk has room for one, until the test ends: it takes all that is written, and loses what is written back beyond
 * that.
 */
export function losingDevice(t: Test): string {
  const device = execFileSync('unshare', ['-m', 'sh', '-c', overSmall], { encoding: 'utf8' }).trim();
  t.teardown(() => execFileSync('losetup', ['--detach', device]));
  return device;
}

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

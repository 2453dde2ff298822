import { spawnSync } from 'node:child_process';

/** Why no file system can be mounted here; false if one can. */
export function noMount(): string | false {
  const probe = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']);
  return probe.status === 0 ? false : 'no file system can be mounted to be full: run as root';
}

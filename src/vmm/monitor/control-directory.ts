import { lstatSync } from 'node:fs';

/**
 * Directory of the control sockets of a user's machines. Root's is the same for services and for every login, and is there when a
 * login has ended: XDG_RUNTIME_DIR is of logins. `COLO_VMM_RUNTIME` names another parent.
 */
export function controlDirectory(environment: NodeJS.ProcessEnv = process.env, user = process.geteuid?.()): string {
  const { COLO_VMM_RUNTIME: chosen, XDG_RUNTIME_DIR: ofLogin } = environment;
  if (chosen !== undefined) return `${chosen}/colo-vmm`;
  if (user === 0) return '/run/colo-vmm';
  return ofLogin === undefined ? `/tmp/colo-vmm-${user}` : `${ofLogin}/colo-vmm`;
}

/** Where the machine of that name, or process id if it has none, is reached. */
export function controlPath(name: string | number): string {
  return `${controlDirectory()}/${name}${controlSuffix}`;
}

/** How the names of control sockets end. */
export const controlSuffix = '.sock';

/**
 * Refuses a directory that somebody else may have laid where ours is to be, as anybody can in /tmp: its owner could put a
 * socket of his own in place of a machine's, and hear what is said to it.
 *
 * @throws Error that says what is wrong, and what to do; NodeJS.ErrnoException if there is nothing
 */
export function requireOwnDirectory(directory: string): void {
  const stat = lstatSync(directory);
  const remove = `remove it, or give sockets by --control PATH`;
  if (!stat.isDirectory()) throw new Error(`${directory} is no directory; ${remove}`);
  if (stat.uid !== process.geteuid?.()) throw new Error(`${directory} belongs to user ${stat.uid}; ${remove}`);
  if ((stat.mode & 0o077) !== 0) {
    throw new Error(`${directory} is open to others; look what is in it, and run chmod 700 ${directory}`);
  }
}

/** Directory of the control sockets of this user's machines. */
export function controlDirectory(): string {
  const runtime = process.env.XDG_RUNTIME_DIR;
  if (runtime !== undefined) return `${runtime}/colo-vmm`;
  return process.getuid?.() === 0 ? '/run/colo-vmm' : `/tmp/colo-vmm-${process.getuid?.()}`;
}

/** Where the machine of that name, or process id if it has none, is reached. */
export function controlPath(name: string | number): string {
  return `${controlDirectory()}/${name}${controlSuffix}`;
}

/** How the names of control sockets end. */
export const controlSuffix = '.sock';

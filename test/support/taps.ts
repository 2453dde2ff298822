import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { Tap } from '../../src/host/net/tap.ts';

/** Why real TAPs and bridges cannot be made here, with the remedy; false if they can. */
export function noTaps(): string | false {
  if (process.getuid?.() !== 0) return 'TAPs need root: run the tests as root';
  if (spawnSync('ip', ['link']).status !== 0) return 'no ip command: apt-get install iproute2';
  try {
    new Tap({ name: freeName() }).close();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}

/** A name for an interface that nobody has. */
export function freeName(): string {
  return `colo${randomBytes(4).toString('hex')}`;
}

export function hasInterface(name: string): boolean {
  return existsSync(`/sys/class/net/${name}`);
}

export function ip(...args: readonly string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}

/** Makes an interface by `ip link add` (or `ip tuntap add`) that is gone after the test; its name. A veth's option is its peer's name. */
export function makeInterface(
  t: { teardown(clean: () => unknown): unknown },
  kind: 'bridge' | 'tap' | 'tun' | 'veth',
  ...options: readonly string[]
): string {
  const name = freeName();
  if (kind === 'tap' || kind === 'tun') ip('tuntap', 'add', name, 'mode', kind, ...options);
  else if (kind === 'veth') ip('link', 'add', name, 'type', kind, 'peer', 'name', ...options);
  else ip('link', 'add', name, ...options, 'type', kind);
  t.teardown(() => spawnSync('ip', ['link', 'delete', name]));
  return name;
}

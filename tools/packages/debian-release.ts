import { readFile } from 'node:fs/promises';

/** What this machine is, as far as packages are concerned. */
export interface DebianRelease {
  /** Such as `bookworm`; the suite of its own packages. */
  readonly codename: string;
  /** Such as 12; testing has none and counts as newer than everything. */
  readonly version: number;
}

/** Reads os-release(5). Throws on anything that is not Debian: package names and suites are Debian's. */
export async function debianRelease(path = '/etc/os-release'): Promise<DebianRelease> {
  const text = await readFile(path, 'utf8').catch(() => '');
  const field = (name: string) => new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(text)?.[1];
  const codename = field('VERSION_CODENAME');
  if (field('ID') !== 'debian' || codename === undefined) {
    throw new Error(
      `the lab is made of Debian packages, and ${path} says this is "${field('ID') ?? 'unknown'}"; use Debian 12 or newer`,
    );
  }
  return { codename, version: Number(field('VERSION_ID') ?? Number.POSITIVE_INFINITY) };
}

import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cacheRoot, keyOf, replaceFile, withLock } from './cache.ts';
import { debianRelease } from './debian-release.ts';
import { execute } from './execute.ts';
import type { Progress } from './progress.ts';
import {
  type AptSource,
  formatDeb822Sources,
  parseDeb822Sources,
  parseOneLineSources,
  sourcesForSuites,
} from './sources-list.ts';

/**
 * A private apt: its own sources, lists, archives and an empty package database, so nothing on the machine
 * is touched, no privilege is needed, and any suite of the machine's own mirror can be read.
 */
export interface PrivateApt {
  readonly directory: string;
  readonly suites: readonly string[];
}

/** One package file apt chose. */
export interface ResolvedPackage {
  readonly name: string;
  readonly version: string;
  readonly sizeBytes: number;
}

/**
 * Packages that others depend on only for scripts which never run here, most of them of their installation. apt is told that they are
 * installed, unless they are asked for by name: without this a guest with one small tool carries Perl.
 */
const onlyForScripts = {
  adduser: '',
  'base-files': '',
  debconf: 'debconf-2.0',
  debianutils: '',
  dpkg: '',
  'init-system-helpers': '',
  'initramfs-tools': 'linux-initramfs-tool',
  'linux-base': '',
  passwd: '',
  'perl-base': '',
  tar: '',
  udev: '',
  usrmerge: 'usr-is-merged',
  // Of chromium's start script, which is another program's here; they would bring a graphics stack with LLVM.
  'x11-utils': '',
  'xdg-utils': '',
} as const;

export class PackageError extends Error {
  readonly code = 'PACKAGES_UNAVAILABLE';
  override readonly name = 'PackageError';
}

const listsFreshMs = 60 * 60 * 1000;

/** The machine's apt sources, from sources.list and sources.list.d. */
export async function machineSources(directory = '/etc/apt'): Promise<AptSource[]> {
  const parts = join(directory, 'sources.list.d');
  const names = (await readdir(parts).catch(() => [] as string[])).sort().map((name) => join(parts, name));
  const sources: AptSource[] = [];
  for (const path of [join(directory, 'sources.list'), ...names]) {
    const text = await readFile(path, 'utf8').catch(() => '');
    if (path.endsWith('.list')) sources.push(...parseOneLineSources(text));
    if (path.endsWith('.sources')) sources.push(...parseDeb822Sources(text));
  }
  return sources;
}

/** A private apt that knows `suites`, its lists at most an hour old. */
export async function openApt(suites: readonly string[], progress: Progress): Promise<PrivateApt> {
  const release = await debianRelease();
  const sources = sourcesForSuites(await machineSources(), release.codename, suites);
  if (sources.length === 0) {
    throw new PackageError(
      `apt on this machine names no mirror for ${release.codename} main; add one to /etc/apt/sources.list.d and try again`,
    );
  }
  const directory = join(cacheRoot(), 'apt', keyOf(sources));
  const apt = { directory, suites };
  await withLock(join(directory, 'update.lock'), progress, async () => {
    await mkdir(join(directory, 'lists', 'partial'), { recursive: true });
    await replaceFile(join(directory, 'lab.sources'), formatDeb822Sources(sources));
    await replaceFile(join(directory, 'apt.conf'), await configuration(directory));
    const stamp = join(directory, 'updated');
    if (existsSync(stamp) && Date.now() - (await stat(stamp)).mtimeMs < listsFreshMs) return;
    progress(`reading package lists of ${suites.join(', ')}`);
    // Without this an unreachable mirror is a warning only, and old or no lists pass for fresh ones.
    await aptGet(apt, ['update', '-qq', '-o', 'APT::Update::Error-Mode=any']).catch((error: unknown) => {
      throw aptTrouble(`the package lists of ${suites.join(', ')} could not be read`, error);
    });
    await writeFile(stamp, '');
  });
  return apt;
}

/**
 * Only what belongs to the way out (proxies, certificates, time-outs) is taken from the machine's configuration:
 * its hooks and pins are about installing, which never happens here.
 */
async function configuration(directory: string): Promise<string> {
  const machine = (await execute('apt-config', ['dump']))
    .split('\n')
    .filter((line) => /^(Acquire|APT::Architecture)\b/.test(line) && !/^Acquire::(Languages|IndexTargets)/.test(line));
  return [
    ...machine,
    'Dir::Etc::main "/dev/null";',
    'Dir::Etc::parts "/dev/null";',
    'Dir::Etc::preferences "/dev/null";',
    'Dir::Etc::preferencesparts "/dev/null";',
    'Dir::Etc::sourceparts "/dev/null";',
    `Dir::Etc::sourcelist "${join(directory, 'lab.sources')}";`,
    `Dir::State "${directory}";`,
    `Dir::State::lists "${join(directory, 'lists')}";`,
    `Dir::Cache "${directory}";`,
    'Dir::Cache::pkgcache "";',
    'Dir::Cache::srcpkgcache "";',
    // The default is a user of apt's own, who cannot enter a cache in a home folder.
    'APT::Sandbox::User "";',
    'Acquire::Languages "none";',
    // Nothing is installed, each download has a folder of its own, and openApt lets one at a time update the lists.
    'Debug::NoLocking "true";',
    '',
  ].join('\n');
}

function aptGet(apt: PrivateApt, args: readonly string[], onStatusLine?: (line: string) => void): Promise<string> {
  const env = { APT_CONFIG: join(apt.directory, 'apt.conf'), DEBIAN_FRONTEND: 'noninteractive' };
  return execute('apt-get', args, onStatusLine === undefined ? { env } : { env, onStatusLine });
}

/** One line out of apt's many: `what`, and its reasons without their marks. */
function aptTrouble(what: string, cause: unknown): PackageError {
  const text = cause instanceof Error ? cause.message : String(cause);
  const reasons = [...text.matchAll(/E: (.*)/g)].map(([, reason = '']) => reason.trim());
  return new PackageError(`${what}: ${reasons.length === 0 ? text : reasons.slice(0, 2).join('; ')}`, { cause });
}

/** The package database apt is shown when `names` are wanted, as a file. */
async function writeStatus(apt: PrivateApt, names: readonly string[], scriptsRun = false): Promise<string> {
  const text = Object.entries(scriptsRun ? {} : onlyForScripts)
    .filter(([name]) => !names.includes(name))
    .map(([name, provides]) => {
      const extra = provides === '' ? '' : `Provides: ${provides}\n`;
      return `Package: ${name}\nStatus: install ok installed\nVersion: 9999\nArchitecture: all\n${extra}`;
    })
    .join('\n');
  const path = join(apt.directory, `status-${keyOf(text)}`);
  await replaceFile(path, text);
  return path;
}

function installArgs(names: readonly string[], status: string, preferSuite?: string): string[] {
  const database = ['-o', `Dir::State::status=${status}`];
  const prefer = preferSuite === undefined ? [] : ['-t', preferSuite];
  return ['install', '-y', '--no-install-recommends', ...database, ...prefer, ...names];
}

export interface ResolveOptions {
  readonly preferSuite?: string | undefined;
  /** The packages will be installed with their scripts, so that what only scripts need is needed too. */
  readonly scriptsRun?: boolean;
}

/** `names` and everything they need to run, as apt resolves it on a machine where next to nothing is installed. */
export async function resolvePackages(
  apt: PrivateApt,
  names: readonly string[],
  options: ResolveOptions = {},
): Promise<ResolvedPackage[]> {
  const status = await writeStatus(apt, names, options.scriptsRun);
  const args = [...installArgs(names, status, options.preferSuite), '--print-uris', '-qq'];
  const output = await aptGet(apt, args).catch((error: unknown) => {
    throw aptTrouble(`apt cannot give ${names.join(', ')}`, error);
  });
  return output
    .split('\n')
    .map((line) => /^'[^']+' (\S+)_(\S+)_[^_]+\.deb (\d+)/.exec(line))
    .filter((match) => match !== null)
    .map(([, name = '', version = '', size = '0']) => ({
      name,
      version: decodeURIComponent(version),
      sizeBytes: Number(size),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Downloads what {@link resolvePackages} named into the folder `archives` (apt checks every hash); the files' names. */
export async function downloadPackages(
  apt: PrivateApt,
  packages: readonly ResolvedPackage[],
  archives: string,
  progress: Progress,
): Promise<string[]> {
  await mkdir(join(archives, 'partial'), { recursive: true });
  const exact = packages.map(({ name, version }) => `${name}=${version}`);
  const total = packages.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const what = `downloading ${packages.length} packages, ${(total / 1e6).toFixed(0)} MB`;
  progress(what);
  const options = ['--download-only', '-qq', '-o', `Dir::Cache::archives=${archives}`, '-o', 'APT::Status-Fd=3'];
  const status = await writeStatus(
    apt,
    packages.map(({ name }) => name),
  );
  await aptGet(apt, [...installArgs(exact, status), ...options], (line) => {
    const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
    if (percent !== undefined) progress(`${what}: ${Math.round(Number(percent))} %`);
  });
  const files = (await readdir(archives)).filter((name) => name.endsWith('.deb'));
  if (files.length !== packages.length) {
    throw new PackageError(`apt downloaded ${files.length} of ${packages.length} packages into ${archives}`);
  }
  await rm(join(archives, 'partial'), { recursive: true });
  return files;
}

/** Downloads what {@link resolvePackages} named and unpacks it into `root`, running no script of it. */
export async function unpackPackages(
  apt: PrivateApt,
  packages: readonly ResolvedPackage[],
  root: string,
  progress: Progress,
): Promise<void> {
  const archives = `${root}.archives`;
  await mkdir(root, { recursive: true });
  const files = await downloadPackages(apt, packages, archives, progress);
  for (const [index, file] of files.entries()) {
    progress(`unpacking packages: ${Math.round((100 * index) / files.length)} % ${basename(file).split('_')[0]}`);
    await execute('dpkg-deb', ['-x', join(archives, file), root]);
  }
  await rm(archives, { recursive: true });
}

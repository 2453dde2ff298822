import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'tap';
import { Tap } from '../../src/host/net/tap.ts';
import { echoing, printing } from '../support/guests.ts';
import { noKvm } from '../support/kvm.ts';
import { freeName, hasInterface, makeInterface, noTaps } from '../support/taps.ts';
import { tinyElf } from '../support/tiny-elf.ts';
import { bundle, kernelFile, runVmm, temporaryFolder, VmmProcess } from '../support/vmm-process.ts';

const skip = noKvm();

/** Files to be wrong about. */
interface Files {
  readonly folder: string;
  readonly kernel: string;
}

function files(t: Parameters<typeof temporaryFolder>[0]): Files {
  const folder = temporaryFolder(t);
  return { folder, kernel: kernelFile(folder, printing('ran')) };
}

function write(folder: string, name: string, bytes: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** A sparse file: large, and costs nothing. */
function sparse(folder: string, bytes: number): string {
  const path = join(folder, 'large');
  const fd = openSync(path, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
  return path;
}

/** A disk of 64 KiB. */
function disk(folder: string, name = 'disk.img', bytes = 65_536): string {
  return write(folder, name, new Uint8Array(bytes));
}

/** Bytes of a bzImage's header, and no code behind it. */
function truncatedBzImage(): Uint8Array {
  const image = new Uint8Array(1024);
  const view = new DataView(image.buffer);
  image[0x1f1] = 4;
  view.setUint16(0x1fe, 0xaa55, true);
  image[0x201] = 0x6a;
  image.set(Buffer.from('HdrS'), 0x202);
  view.setUint16(0x206, 0x20f, true);
  image[0x236] = 1; // it has a 64-bit entry
  return image;
}

/** An Image for arm64: its magic lies at 56. */
function arm64Image(): Uint8Array {
  const image = new Uint8Array(4096);
  image.set(Buffer.from('ARM\x64', 'latin1'), 56);
  return image;
}

/** The tiny guest with its note taken for something else. */
function elfWithoutPvh(): Uint8Array {
  const elf = tinyElf(printing('never'));
  elf[64 + 2 * 56 + 8] = 1;
  return elf;
}

const MiB = 1024 * 1024;

const cases: readonly (readonly [what: string, args: (files: Files) => readonly string[], says: RegExp])[] = [
  ['no kernel', () => [], /--kernel is missing: give a/],
  ['a kernel without a value', () => ['--kernel'], /--kernel.* argument missing/],
  ['an empty path', () => ['--kernel', ''], /--kernel.*give a path/],
  ['a kernel that is not there', () => ['--kernel', '/no/such/file'], /--kernel \/no\/such\/file: no such file/],
  ['a kernel that is a directory', ({ folder }) => ['--kernel', folder], /--kernel .*directory/],
  ['a kernel that is a device', () => ['--kernel', '/dev/zero'], /--kernel \/dev\/zero: .*not a regular file/],
  [
    'a text for a kernel',
    () => ['--kernel', '/etc/passwd'],
    /kernel \/etc\/passwd is not a Linux kernel: .*give a bzImage/,
  ],
  ['an empty kernel', ({ folder }) => ['--kernel', write(folder, 'empty', '')], /kernel .*empty/],
  [
    'a truncated bzImage',
    ({ folder }) => ['--kernel', write(folder, 'cut', truncatedBzImage())],
    /kernel .*cut is truncated/,
  ],
  [
    'an arm64 Image',
    ({ folder }) => ['--kernel', write(folder, 'Image', arm64Image())],
    /kernel .*Image for .*arm64|Image for 64-bit ARM|AArch64/i,
  ],
  ['an ELF without a PVH note', ({ folder }) => ['--kernel', write(folder, 'elf', elfWithoutPvh())], /kernel .*PVH/],
  [
    'an initrd that is not there',
    ({ kernel }) => ['--kernel', kernel, '--initrd', '/no/such'],
    /--initrd \/no\/such: no such file/,
  ],
  [
    'an empty initrd',
    ({ kernel, folder }) => ['--kernel', kernel, '--initrd', write(folder, 'initrd', '')],
    /initrd .*empty/,
  ],
  [
    'an initrd that does not fit',
    ({ kernel, folder }) => ['--kernel', kernel, '--memory', '16M', '--initrd', sparse(folder, 64 * MiB)],
    /initrd .*(fit|memory|room)/,
  ],
  [
    'an initrd larger than a file may be',
    ({ kernel, folder }) => ['--kernel', kernel, '--initrd', sparse(folder, 6 * 1024 * MiB)],
    /--initrd .*larger than 4 GiB/,
  ],
  [
    'a command line that is too long',
    ({ kernel }) => ['--kernel', kernel, '--cmdline', 'x'.repeat(70_000)],
    /command line.* at most \d+/,
  ],
  ['no memory', ({ kernel }) => ['--kernel', kernel, '--memory', '0'], /--memory 0: a machine needs at least/],
  [
    'memory too small for any machine',
    ({ kernel }) => ['--kernel', kernel, '--memory', '1M'],
    /--memory 1M: .*at least/,
  ],
  [
    'memory too small for the kernel',
    ({ folder }) => ['--kernel', kernelFile(folder, new Uint8Array(4 * MiB), 'large.elf'), '--memory', '2M'],
    /kernel .*memory/,
  ],
  [
    'more memory than the host has',
    ({ kernel }) => ['--kernel', kernel, '--memory', '900T'],
    /--memory 900T: this host has only/,
  ],
  [
    'memory that is no size',
    ({ kernel }) => ['--kernel', kernel, '--memory', 'lots'],
    /--memory lots: give a size such as/,
  ],
  ['negative memory', ({ kernel }) => ['--kernel', kernel, '--memory', '-5'], /--memory -5: give a size/],
  ['no vCPU', ({ kernel }) => ['--kernel', kernel, '--cpus', '0'], /--cpus 0: a machine has 1 to 8/],
  ['1000 vCPUs', ({ kernel }) => ['--kernel', kernel, '--cpus', '1000'], /--cpus 1000: a machine has 1 to 8/],
  ['half a vCPU', ({ kernel }) => ['--kernel', kernel, '--cpus', '1.5'], /--cpus 1\.5: a machine has 1 to 8/],
  ['vCPUs in words', ({ kernel }) => ['--kernel', kernel, '--cpus', 'two'], /--cpus two: a machine has 1 to 8/],
  ['an unknown flag', ({ kernel }) => ['--kernel', kernel, '--turbo', 'on'], /unknown option '--turbo'/],
  ['a stray argument', ({ kernel }) => [kernel], /too many arguments/],
  ['an unknown serial target', ({ kernel }) => ['--kernel', kernel, '--serial', 'tape'], /--serial tape: give stdio/],
  [
    'a serial file that cannot be made',
    ({ kernel }) => ['--kernel', kernel, '--serial', 'file=/no/such/folder/log'],
    /--serial file=\/no\/such\/folder\/log: .*no such file/,
  ],
  [
    'an unknown CPU feature',
    ({ kernel }) => ['--kernel', kernel, '--cpu-mask', 'avx9'],
    /--cpu-mask.* no CPU feature is called .*avx9.*known are/,
  ],
  ['a name with a slash', ({ kernel }) => ['--kernel', kernel, '--name', 'a/b'], /--name a\/b: give up to 64 letters/],
  [
    'a control socket nowhere',
    ({ kernel }) => ['--kernel', kernel, '--control', '/no/such/socket'],
    /--control \/no\/such\/socket: there is no directory/,
  ],
  [
    'a control socket with too long a path',
    ({ kernel, folder }) => ['--kernel', kernel, '--control', join(folder, 'x'.repeat(120))],
    /--control .*at most 107 bytes/,
  ],
  [
    'a control socket where a file is',
    ({ kernel }) => ['--kernel', kernel, '--control', kernel],
    /--control .*no socket is in the way/,
  ],
  [
    'a configuration that is not there',
    () => ['--config', '/no/such.json'],
    /--config \/no\/such\.json: .*no such file/,
  ],
  [
    'a configuration that is no JSON',
    ({ folder }) => ['--config', write(folder, 'c.json', '{kernel')],
    /--config .*JSON/,
  ],
  [
    'a configuration that is a list',
    ({ folder }) => ['--config', write(folder, 'c.json', '[]')],
    /--config .*holds no JSON object/,
  ],
  [
    'an unknown key',
    ({ folder }) => ['--config', write(folder, 'c.json', '{"kernel":"x","turbo":1}')],
    /"turbo": no such key; known are/,
  ],
  [
    'a bad value in a configuration',
    ({ folder }) => ['--config', write(folder, 'c.json', '{"kernel":"x","cpus":99}')],
    /c\.json: "cpus" 99: a machine has 1 to 8/,
  ],
];

/** Disks and network cards to be wrong about: each is given to a machine that is right otherwise. */
const deviceCases: typeof cases = [
  ['a disk that is not there', () => ['--disk', 'path=/no/such'], /: disk \/no\/such does not exist: truncate -s 1G/],
  ['a disk that is a directory', ({ folder }) => ['--disk', `path=${folder}`], /: disk .* is a directory: name a file/],
  [
    'a disk that is a device, but none of blocks',
    () => ['--disk', 'path=/dev/zero'],
    /: disk \/dev\/zero is neither a file nor a block device/,
  ],
  [
    'an empty disk',
    ({ folder }) => ['--disk', `path=${write(folder, 'disk', '')}`],
    /: disk .*\/disk is empty: give it a size, as with truncate -s 1G .*\/disk\n/,
  ],
  [
    'a disk of an odd size',
    ({ folder }) => ['--disk', `path=${write(folder, 'disk', new Uint8Array(1000))}`],
    /: disk .*\/disk has 1000 bytes, not a multiple of 512: truncate -s %512 .*\/disk mends that/,
  ],
  [
    'the same disk twice',
    ({ folder }) => ['--disk', `path=${disk(folder)}`, '--disk', `path=${join(folder, 'disk.img')}`],
    /: disk .*\/disk\.img is in use by pid \d+ \(.*\): end that first/,
  ],
  [
    'an overlay in no folder',
    ({ folder }) => ['--disk', `path=${disk(folder)},overlay=/no/such/folder/file`],
    /: overlay \/no\/such\/folder\/file cannot be made: ENOENT; its folder must exist/,
  ],
  [
    'an overlay that is none',
    ({ folder }) => ['--disk', `path=${disk(folder)},overlay=${write(folder, 'other', new Uint8Array(8192))}`],
    /: .*\/other is not an overlay: name another file, or remove it/,
  ],
  [
    'an overlay that is only to be read',
    ({ folder }) => ['--disk', `path=${disk(folder)},overlay=${join(folder, 'over')},readonly=on`],
    /: disk disk0: an overlay is there to be written; leave out readonly=on/,
  ],
  [
    'too many disks',
    ({ folder }) => Array.from({ length: 18 }, (_, n) => ['--disk', `path=${disk(folder, `${n}.img`)}`]).flat(),
    /: a machine has room for 17 disks and network cards, not 18/,
  ],
  ['a disk without a path', () => ['--disk', 'id=root'], /: --disk id=root: path= is missing/],
  [
    'two disks with one id',
    ({ folder }) => ['a', 'b'].flatMap((name) => ['--disk', `path=${disk(folder, name)},id=root`]),
    /: --disk: two disks have the id root; give each one of its own/,
  ],
  ['a bad MAC address', () => ['--net', 'tap=t,mac=02:00'], /: --net tap=t,mac=02:00: mac is six pairs of/],
  ['a bad entropy source', () => ['--rng', 'dice'], /: --rng dice: give host, seed=NUMBER/],
];

for (const [what, args, says] of [
  ...cases,
  ...deviceCases.map(
    ([what, args, says]) =>
      [what, (files: Files) => ['--kernel', files.kernel, '--memory', '16M', ...args(files)], says] as const,
  ),
]) {
  test(`answers ${what} with one clear line`, { skip }, async (t) => {
    const input = files(t);
    const ending = await runVmm(['run', ...args(input)], { env: { COLO_VMM_RUNTIME: input.folder } });
    t.equal(ending.code, 1);
    t.equal(ending.stdout, '');
    t.match(ending.stderr, /^colo-vmm: [^\n]+\n$/, 'one line');
    t.match(ending.stderr, says);
  });
}

test('answers a pipe for a kernel at once, though nobody writes to it', { skip }, async (t) => {
  const { folder } = files(t);
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const ending = await runVmm(['run', '--kernel', pipe]);
  t.equal(ending.code, 1);
  t.match(ending.stderr, /not a regular file/);
});

/** Files in a folder that were not there before the guest ran. */
function left(folder: string): string[] {
  return readdirSync(folder).filter((name) => !['guest.elf', 'disk.img', 'overlay', 'colo-vmm'].includes(name));
}

/** A machine of its own folder with such devices, to its end. */
function runWith(input: Files, ...devices: readonly string[]) {
  return runVmm(['run', '--kernel', input.kernel, '--memory', '16M', ...devices], {
    env: { COLO_VMM_RUNTIME: input.folder },
  });
}

test('names the machine that has a disk, and leaves it alone', { skip }, async (t) => {
  const input = files(t);
  const image = disk(input.folder);
  const vmm = new VmmProcess(
    ['run', '--kernel', kernelFile(input.folder, echoing(), 'echo.elf'), '--memory', '16M', '--disk', `path=${image}`],
    { env: { COLO_VMM_RUNTIME: input.folder } },
  );
  t.teardown(() => vmm.child.kill('SIGKILL'));
  vmm.write('x');
  await vmm.printed('x');

  for (const [keys, use] of [
    ['', 'in use'],
    [',readonly=on', 'being written to'],
    [`,overlay=${join(input.folder, 'overlay')}`, 'being written to'],
  ] as const) {
    const second = await runWith(input, '--disk', `path=${image}${keys}`);
    t.equal(second.code, 1);
    const holder = `pid ${vmm.pid} \\(.*\\)`;
    t.match(
      second.stderr,
      new RegExp(`^colo-vmm: disk ${image} is ${use} by ${holder}: end that first, or use a copy\\n$`),
    );
  }

  vmm.write('q');
  t.equal((await vmm.ended).code, 0, 'the first one goes on');
  const third = await runWith(input, '--disk', `path=${image}`);
  t.equal(third.code, 0, 'the disk is free again');
  t.equal(third.stdout, 'ran');
});

test('machines share a disk that they only read', { skip }, async (t) => {
  const input = files(t);
  const image = disk(input.folder);
  const vmm = new VmmProcess(
    [
      ...['run', '--kernel', kernelFile(input.folder, echoing(), 'echo.elf'), '--memory', '16M'],
      ...['--disk', `path=${image},overlay=${join(input.folder, 'overlay')}`],
    ],
    { env: { COLO_VMM_RUNTIME: input.folder } },
  );
  t.teardown(() => vmm.child.kill('SIGKILL'));
  vmm.write('x');
  await vmm.printed('x');
  t.equal((await runWith(input, '--disk', `path=${image},readonly=on`)).stdout, 'ran');
  const writer = await runWith(input, '--disk', `path=${image}`);
  t.equal(writer.code, 1);
  t.match(writer.stderr, new RegExp(`^colo-vmm: disk ${image} is in use by pid ${vmm.pid} [^\\n]+\\n$`));
  vmm.write('q');
  t.equal((await vmm.ended).code, 0);
});

test('refuses an overlay that belongs to another base', { skip }, async (t) => {
  const input = files(t);
  const overlay = join(input.folder, 'overlay');
  t.equal((await runWith(input, '--disk', `path=${disk(input.folder)},overlay=${overlay}`)).stdout, 'ran');
  const larger = disk(input.folder, 'disk.img', 131_072);
  const ending = await runWith(input, '--disk', `path=${larger},overlay=${overlay}`);
  t.equal(ending.code, 1);
  t.equal(
    ending.stderr,
    `colo-vmm: overlay ${overlay} belongs to a base of 65536 bytes, this one has 131072: name its own base\n`,
  );
  t.strictSame(left(input.folder), []);
});

test('a disk that will do is given back when a later one will not', { skip }, async (t) => {
  const input = files(t);
  const image = disk(input.folder);
  const ending = await runWith(input, '--disk', `path=${image}`, '--disk', 'path=/no/such');
  t.equal(ending.code, 1);
  t.match(ending.stderr, /^colo-vmm: disk \/no\/such does not exist[^\n]+\n$/);
  t.strictSame(left(input.folder), []);
  t.equal((await runWith(input, '--disk', `path=${image}`)).stdout, 'ran');
});

const skipTaps = skip || noTaps();

test('answers an interface that is no TAP, and makes none', { skip: skipTaps }, async (t) => {
  const input = files(t);
  const name = freeName();
  const ending = await runWith(input, '--net', `tap=${name}`, '--net', 'tap=lo');
  t.equal(ending.code, 1);
  t.equal(
    ending.stderr,
    'colo-vmm: the interface lo exists and is no TAP: choose another name, or remove it: ip link delete lo\n',
  );
  t.equal(hasInterface(name), false, 'the first card has no TAP left');
});

test('answers a TAP that another process has', { skip: skipTaps }, async (t) => {
  const tap = new Tap({ name: freeName() });
  t.teardown(() => tap.close());
  const ending = await runWith(files(t), '--net', `tap=${tap.name}`);
  t.equal(ending.code, 1);
  t.equal(
    ending.stderr,
    `colo-vmm: the TAP ${tap.name} is in use by another process: end that one, or choose another TAP\n`,
  );
});

test('answers a bridge that is not there, and leaves no TAP', { skip: skipTaps }, async (t) => {
  const [name, bridge] = [freeName(), freeName()];
  const ending = await runWith(files(t), '--net', `tap=${name},bridge=${bridge}`);
  t.equal(ending.code, 1);
  t.equal(ending.stderr, `colo-vmm: there is no bridge ${bridge}: ip link add ${bridge} type bridge\n`);
  t.equal(hasInterface(name), false);
});

/** Root, and without any of its privileges: what it may do then is what the files' owner may. */
function runPowerless(args: readonly string[], runtime: string): { status: number | null; stderr: string } {
  return spawnSync(
    'setpriv',
    ['--bounding-set=-all', '--inh-caps=-all', process.execPath, bundle, 'run', '--memory', '16M', ...args],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, COLO_VMM_RUNTIME: runtime } },
  );
}

/** Why that cannot be tried here. */
function noPowerless(): string | false {
  if (process.getuid?.() !== 0) return 'only root has privileges to lose: run the tests as root';
  if (spawnSync('setpriv', ['--bounding-set=-all', 'true']).status !== 0) {
    return 'no setpriv command that works: apt-get install util-linux';
  }
  return false;
}

test('answers a disk that it may not open, or only read', { skip: skip || noPowerless() }, async (t) => {
  const { folder, kernel } = files(t);
  const image = disk(folder);
  chownSync(image, 65534, 65534);
  const says =
    `colo-vmm: disk ${image} may not be opened by this user: ` +
    'change its permissions, or use readonly=on if it may be read\n';
  const runWithDisk = (keys: string) => runPowerless(['--kernel', kernel, '--disk', `path=${image}${keys}`], folder);

  chmodSync(image, 0o600);
  for (const keys of ['', ',readonly=on']) {
    const { status, stderr } = runWithDisk(keys);
    t.equal(status, 1);
    t.equal(stderr, says);
  }
  chmodSync(image, 0o644);
  t.equal(runWithDisk('').stderr, says);
  t.equal(runWithDisk(',readonly=on').status, 0, 'the remedy is one');
  t.strictSame(left(folder), []);
});

test('answers a TAP that it may not make or use', { skip: skipTaps || noPowerless() }, async (t) => {
  const { folder, kernel } = files(t);
  const name = freeName();
  const made = runPowerless(['--kernel', kernel, '--net', `tap=${name}`], folder);
  t.equal(made.status, 1);
  t.match(made.stderr, new RegExp(`^colo-vmm: no permission to make the TAP ${name}: run as root, [^\\n]+\\n$`));
  t.equal(hasInterface(name), false);

  const others = makeInterface(t, 'tap', 'user', '65534');
  const used = runPowerless(['--kernel', kernel, '--net', `tap=${others}`], folder);
  t.equal(used.status, 1);
  t.match(used.stderr, new RegExp(`^colo-vmm: no permission to use the TAP ${others}: run as root or [^\\n]+\\n$`));
});

/** The bundle, where a user without rights can run it, and that user. */
function asNobody(t: Parameters<typeof temporaryFolder>[0]): { folder: string; program: string; uid: number } {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o777);
  cpSync(dirname(bundle), join(folder, 'dist'), { recursive: true });
  return { folder, program: join(folder, 'dist', basename(bundle)), uid: 65534 };
}

const notRoot = process.getuid?.() === 0 ? false : 'only root can become nobody: run the tests as root';

test('answers a kernel it may not read', { skip: notRoot }, async (t) => {
  const { folder, program, uid } = asNobody(t);
  const kernel = kernelFile(folder, printing('never'));
  chmodSync(kernel, 0o600);
  const ending = await runVmm(['run', '--kernel', kernel, '--control', join(folder, 'c')], { program, uid });
  t.equal(ending.code, 1);
  t.match(ending.stderr, /^colo-vmm: --kernel .*: no permission to read it\n$/);
});

const openToAll = (statSync('/dev/kvm', { throwIfNoEntry: false })?.mode ?? 0) & 0o006;
const skipPermission = skip || notRoot || (openToAll !== 0 ? 'everybody may open /dev/kvm on this machine' : false);

test('answers a /dev/kvm that it may not open with the remedy', { skip: skipPermission }, async (t) => {
  const { folder, program, uid } = asNobody(t);
  const kernel = kernelFile(folder, printing('never'));
  const ending = await runVmm(['run', '--kernel', kernel, '--control', join(folder, 'c')], { program, uid });
  t.equal(ending.code, 1);
  t.match(ending.stderr, /^colo-vmm: no permission to open \/dev\/kvm: become a member of its group [^\n]+\n$/);
  t.equal(existsSync(join(folder, 'c')), false, 'its control socket is gone');
  t.equal((await runVmm(['doctor'], { program, uid })).code, 1, 'doctor finds that no guest can run');
});

test('does not touch the file that stands where the control socket should', { skip }, async (t) => {
  const { kernel } = files(t);
  await runVmm(['run', '--kernel', kernel, '--control', kernel]);
  const again = await runVmm(['run', '--kernel', kernel]);
  t.equal(again.stdout, 'ran');
});

test('takes everything from a configuration file; flags win', { skip }, async (t) => {
  const { folder, kernel } = files(t);
  mkdirSync(join(folder, 'sockets'));
  const config = write(
    folder,
    'machine.json',
    JSON.stringify({ kernel: '/no/such', memory: '16M', cpus: 2, serial: 'none', control: join(folder, 'sockets/c') }),
  );
  const ending = await runVmm(['run', '--config', config, '--kernel', kernel, '--serial', 'stdio']);
  t.equal(ending.stdout, 'ran');
  t.equal(ending.code, 0);
});

test('tells its version, which is that of package.json', async (t) => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const { stdout, code } = await runVmm(['--version']);
  t.equal(stdout, `${version}\n`);
  t.equal(code, 0);
});

test('explains itself', async (t) => {
  for (const args of [['--help'], ['help'], ['run', '--help'], ['doctor', '--help']]) {
    const ending = await runVmm(args);
    t.equal(ending.code, 0, args.join(' '));
    t.match(ending.stdout, /^Usage: colo-vmm/);
    t.equal(ending.stderr, '');
  }
  t.match((await runVmm(['run', '--help'])).stdout, /Exit codes:[\s\S]*Disks:[\s\S]*Examples:/);
});

test('refuses a command it does not know', async (t) => {
  const ending = await runVmm(['walk']);
  t.equal(ending.code, 1);
  t.match(ending.stderr, /^colo-vmm: unknown command 'walk'[^\n]*\n$/);
});

test('doctor tells what it found, for people and for programs', { skip }, async (t) => {
  const people = await runVmm(['doctor']);
  t.equal(people.code, 0);
  for (const subject of ['runtime', 'processor', '/dev/kvm', '/dev/net/tun', 'io_uring', 'memory']) {
    t.match(people.stdout, new RegExp(`^(ok {2}|warn|FAIL) {2}${subject} `, 'm'));
  }
  const programs = await runVmm(['doctor', '--json']);
  t.equal(programs.code, 0);
  const { ok, findings } = JSON.parse(programs.stdout) as { ok: boolean; findings: { verdict: string }[] };
  t.equal(ok, true);
  t.ok(findings.every(({ verdict }) => ['ok', 'warn'].includes(verdict)));
  t.equal(findings.length, 6);
});

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'tap';
import { printing } from '../support/guests.ts';
import { noKvm } from '../support/kvm.ts';
import { tinyElf } from '../support/tiny-elf.ts';
import { bundle, kernelFile, runVmm, temporaryFolder } from '../support/vmm-process.ts';

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

/** Bytes of a bzImage's header, and no code behind it. */
function truncatedBzImage(): Uint8Array {
  const image = new Uint8Array(1024);
  const view = new DataView(image.buffer);
  image[0x1f1] = 4;
  view.setUint16(0x1fe, 0xaa55, true);
  image[0x201] = 0x6a;
  image.set(Buffer.from('HdrS'), 0x202);
  view.setUint16(0x206, 0x20f, true);
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
    /kernel .*cut|hardware virtualisation/,
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

for (const [what, args, says] of cases) {
  test(`answers ${what} with one clear line`, { skip }, async (t) => {
    const input = files(t);
    const ending = await runVmm(['run', ...args(input)], { env: { XDG_RUNTIME_DIR: input.folder } });
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

test('explains itself', async (t) => {
  for (const args of [['--help'], ['help'], ['run', '--help'], ['doctor', '--help']]) {
    const ending = await runVmm(args);
    t.equal(ending.code, 0, args.join(' '));
    t.match(ending.stdout, /^Usage: colo-vmm/);
    t.equal(ending.stderr, '');
  }
  t.match((await runVmm(['run', '--help'])).stdout, /Exit codes:[\s\S]*Example:/);
});

test('refuses a command it does not know', async (t) => {
  const ending = await runVmm(['walk']);
  t.equal(ending.code, 1);
  t.match(ending.stderr, /^colo-vmm: unknown command 'walk'[^\n]*\n$/);
});

test('doctor tells what it found, for people and for programs', { skip }, async (t) => {
  const people = await runVmm(['doctor']);
  t.equal(people.code, 0);
  for (const subject of ['runtime', 'processor', '/dev/kvm', '/dev/net/tun', 'memory']) {
    t.match(people.stdout, new RegExp(`^(ok {2}|warn|FAIL) {2}${subject} `, 'm'));
  }
  const programs = await runVmm(['doctor', '--json']);
  t.equal(programs.code, 0);
  const { ok, findings } = JSON.parse(programs.stdout) as { ok: boolean; findings: { verdict: string }[] };
  t.equal(ok, true);
  t.ok(findings.every(({ verdict }) => ['ok', 'warn'].includes(verdict)));
  t.equal(findings.length, 5);
});

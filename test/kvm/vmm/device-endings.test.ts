import { closeSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'tap';
import { openDiskFile } from '../../../src/block/disk-file.ts';
import { Assembler } from '../../support/assembler.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, forAWhile, takeOutput, until } from '../../support/machines.ts';
import { openFiles } from '../../support/open-files.ts';
import { freeName, hasInterface, noTaps } from '../../support/taps.ts';
import {
  checkingDisk,
  flushingDisk,
  hammering,
  printingEntropy,
  resetting,
  writingDisk,
} from '../../support/virtio-guests.ts';
import { bundle, kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm();
/** An end that was asked for, or a failure of ours, is over within this time. */
const promptMs = 1000;
const taps = skip || noTaps();

type Test = Parameters<typeof temporaryFolder>[0];

function diskFile(folder: string, name = 'disk.img'): string {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array(1 << 20));
  return path;
}

const page = Uint8Array.from({ length: 4096 }, (_, index) => (index * 11 + (index >> 9)) & 0xff);

interface Running {
  readonly vmm: VmmProcess;
  readonly folder: string;
  readonly disk: string;
  readonly overlay: string;
  readonly tap: string;
}

/** A machine with two disks, entropy and, where there can be one, a network card, whose guest hammers the first disk. */
async function startBusy(t: Test): Promise<Running> {
  const folder = temporaryFolder(t);
  const [disk, base, overlay] = [diskFile(folder), diskFile(folder, 'base.img'), join(folder, 'overlay')];
  const tap = freeName();
  const vmm = new VmmProcess(
    [
      ...['run', '--kernel', kernelFile(folder, hammering('.')), '--memory', '16M', '--cpus', '2', '--name', 'mine'],
      ...['--disk', `path=${disk}`, '--disk', `path=${base},overlay=${overlay}`, '--rng', 'host'],
      ...(taps === false ? ['--net', `tap=${tap}`] : []),
    ],
    { env: { COLO_VMM_RUNTIME: folder } },
  );
  t.teardown(() => vmm.child.kill('SIGKILL'));
  await vmm.printed('.');
  return { vmm, folder, disk, overlay, tap };
}

/** Whether somebody has a file as a disk, for longer than the kernel takes to clear away what was killed. */
function isInUse(path: string): boolean {
  try {
    closeSync(openDiskFile(path, { raw: true }).fd);
    return false;
  } catch {
    return true;
  }
}

for (const [way, code, end] of [
  ['SIGTERM', 143, ({ vmm }: Running) => vmm.child.kill('SIGTERM')],
  ['SIGKILL', null, ({ vmm }: Running) => vmm.child.kill('SIGKILL')],
  ['the end of its standard input', 129, ({ vmm }: Running) => vmm.child.stdin?.end()],
  [
    'the monitor',
    0,
    ({ folder }: Running) =>
      connect(join(folder, 'colo-vmm', 'mine.sock')).end('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n'),
  ],
] as const) {
  test(`a machine with busy devices that is ended by ${way} leaves nothing`, { skip }, async (t) => {
    const running = await startBusy(t);
    const { vmm, folder, disk, overlay, tap } = running;
    t.ok([disk, overlay].every(isInUse), 'its disks are in use before');
    if (taps === false) t.ok(hasInterface(tap), 'and there is a TAP');
    const started = performance.now();
    const exited = new Promise((resolve) => vmm.child.once('exit', resolve));
    end(running);
    await exited;
    const tookMs = performance.now() - started;
    t.equal((await vmm.ended).code, code);
    t.ok(tookMs < promptMs, `took ${tookMs} ms`);
    t.equal(existsSync(`/proc/${vmm.pid}`), false);
    t.notOk([disk, overlay].some(isInUse), 'no lock is left');
    t.equal(hasInterface(tap), false);
    const sockets = readdirSync(join(folder, 'colo-vmm'));
    if (way !== 'SIGKILL') t.strictSame(sockets, []);
  });
}

for (const [how, code, exitCode] of [
  ['powers off', writingDisk(0, page), 0],
  ['crashes', new Assembler().bytes(0x0f, 0x0b).assemble(), 2],
] as const) {
  test(`a machine with devices whose guest ${how} leaves nothing`, { skip }, async (t) => {
    const folder = temporaryFolder(t);
    const [disk, tap] = [diskFile(folder), freeName()];
    const ending = await runVmm(
      [
        ...['run', '--kernel', kernelFile(folder, code), '--memory', '16M', '--disk', `path=${disk}`, '--rng', 'host'],
        ...(taps === false ? ['--net', `tap=${tap}`] : []),
      ],
      { env: { COLO_VMM_RUNTIME: folder } },
    );
    t.equal(ending.code, exitCode);
    t.equal(isInUse(disk), false);
    t.equal(hasInterface(tap), false);
  });
}

test('gives back descriptors and threads of devices', { skip, timeout: 120_000 }, async (t) => {
  const folder = temporaryFolder(t);
  const [path, base] = [diskFile(folder), diskFile(folder, 'base.img')];
  const plain = { readonly: false, direct: false, werror: 'enospc' } as const;
  const live = () => ({
    descriptors: openFiles().length,
    threads: readdirSync('/proc/self/task').length,
    mappings: readFileSync('/proc/self/maps', 'utf8').split(/io_uring|kvm-vcpu/).length - 1,
  });
  const cycle = async (): Promise<void> => {
    const machine = bootMachine(t, hammering('.'), {
      devices: {
        disks: [
          { ...plain, path },
          { ...plain, path: base, overlay: join(folder, 'overlay') },
        ],
        nets: taps === false ? [{ tap: freeName(), offload: true }] : [],
        rng: { kind: 'seed', seed: 1 },
      },
    });
    let printed = '';
    await until(() => {
      printed += takeOutput(machine);
      return printed !== '';
    });
    await machine.close();
  };
  for (let round = 0; round < 2; round++) await cycle(); // whatever is made once is made now
  const before = live();
  for (let round = 0; round < 4; round++) await cycle();
  // The kernel ends threads of an io_uring in its own time.
  await until(() => live().threads <= before.threads);
  t.strictSame(live(), before);
});

test('an overlay has what the guest flushed before it was killed', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const devices = ['--disk', `path=${diskFile(folder)},overlay=${join(folder, 'overlay')}`];
  const options = { env: { COLO_VMM_RUNTIME: folder } };
  const args = (code: Uint8Array) => ['run', '--kernel', kernelFile(folder, code), '--memory', '16M', ...devices];

  const vmm = new VmmProcess(args(flushingDisk(40, page, 'flushed')), options);
  await vmm.printed('flushed');
  await vmm.endedBySignal('SIGKILL');

  const next = await runVmm(args(checkingDisk(40, page)), options);
  t.equal(next.stdout, 'OK');
  const elsewhere = await runVmm(args(checkingDisk(41, page)), options);
  t.equal(elsewhere.stdout, 'BAD', 'another place has other bytes');
});

/** The program, with the io thread's part of it changed; where to find it. */
function programWith(t: Test, change: (ioThread: string) => string): string {
  const folder = join(temporaryFolder(t), 'dist');
  cpSync(dirname(bundle), folder, { recursive: true });
  const io = join(folder, 'io.cjs');
  writeFileSync(io, change(readFileSync(io, 'utf8')));
  rmSync(join(folder, 'io.cache'), { force: true });
  return join(folder, basename(bundle));
}

for (const [when, change, says] of [
  ['throws at once', () => 'throw new Error("out of order");', 'out of order'],
  ['ends without a word', () => 'process.exit(5);', 'its thread ended with exit code 5'],
  [
    'is given an order that it cannot carry out',
    (source: string) =>
      `process.getBuiltinModule('node:worker_threads').workerData.devices[0].virtio.kicks[0] = -1; ${source}`,
    'EPOLL_CTL_ADD|epoll',
  ],
  [
    // The generator of the seeded bytes takes eight of these to be made.
    'throws while it serves a request',
    (source: string) =>
      'const { imul } = Math; let left = 40;' +
      `Math.imul = (a, b) => { if (left-- === 0) throw new Error('out of order'); return imul(a, b); }; ${source}`,
    'out of order',
  ],
] as const) {
  test(`a machine ends with one clear line when the io thread ${when}`, { skip }, async (t) => {
    const folder = temporaryFolder(t);
    const vmm = new VmmProcess(
      [
        ...['run', '--kernel', kernelFile(folder, printingEntropy(1, 256, 'asking')), '--memory', '16M'],
        ...['--disk', `path=${diskFile(folder)}`, '--rng', 'seed=1'],
      ],
      { program: programWith(t, change), env: { COLO_VMM_RUNTIME: folder } },
    );
    t.teardown(() => vmm.child.kill('SIGKILL'));
    if (when.includes('serves')) await vmm.printed('asking');
    const started = performance.now();
    const ending = await vmm.ended;
    const tookMs = performance.now() - started;
    t.equal(ending.code, 1);
    t.match(
      ending.stderr,
      new RegExp(`^colo-vmm: the io thread: [^\\n]*(${says})[^\\n]*\\ncolo-vmm: [^\\n]+ exits: [^\\n]+\\n$`),
    );
    if (when.includes('serves')) t.ok(tookMs < promptMs, `took ${tookMs} ms`);
    t.equal(isInUse(join(folder, 'disk.img')), false);
  });
}

/** Parks and ends as it should, and never does what a driver wants. */
const deafThread = `(function (exports, require) {
  exports.threadMain = () => {
    const cells = new Int32Array(require('node:worker_threads').workerData.control);
    const [request, phase] = [0, 1];
    const [park, run, end, running, parked, ended] = [0, 1, 2, 1, 2, 3];
    const enter = (next) => { Atomics.store(cells, phase, next); Atomics.notify(cells, phase); };
    for (let now; (now = Atomics.load(cells, request)) !== end; ) {
      enter(now === park ? parked : running);
      Atomics.wait(cells, request, now);
    }
    enter(ended);
  };
})`;

test('a vCPU that waits for a reset does not hold up the end', { skip }, async (t) => {
  const disk = { path: diskFile(temporaryFolder(t)), readonly: false, direct: false, werror: 'enospc' } as const;
  const machine = bootMachine(t, resetting('R'), {
    devices: { disks: [disk], nets: [], rng: { kind: 'none' } },
    program: pathToFileURL(programWith(t, () => deafThread)),
  });
  await until(() => machine.exits.mmioWrite > 0);
  await forAWhile(100);
  t.equal(machine.exits.mmioWrite, 1, 'it waits in its first reset');
  const started = performance.now();
  await machine.close();
  const tookMs = performance.now() - started;
  t.ok(tookMs < promptMs, `took ${tookMs} ms`);
});

test('a guest that resets a disk again and again under its requests ends as any other', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const args = ['run', '--kernel', kernelFile(folder, resetting('R')), '--memory', '16M'];
  const vmm = new VmmProcess([...args, '--disk', `path=${diskFile(folder)},direct=on`], {
    env: { COLO_VMM_RUNTIME: folder },
  });
  t.teardown(() => vmm.child.kill('SIGKILL'));
  await vmm.printed('R');
  // Long enough for many resets on a busy machine, too.
  await forAWhile(1500);
  const ending = await vmm.endedBySignal('SIGTERM');
  t.equal(ending.code, 143);
  t.ok(ending.tookMs < promptMs, `took ${ending.tookMs} ms`);
  t.ok(Number(/(\d+) MMIO write/.exec(ending.stderr)?.[1]) > 100, ending.stderr);
});

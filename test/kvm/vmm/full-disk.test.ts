import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import type { DiskConfig } from '../../../src/vmm/config/device-config.ts';
import { Monitor } from '../../../src/vmm/monitor/monitor.ts';
import { noKvm } from '../../support/kvm.ts';
import { bootMachine, takeOutput, until } from '../../support/machines.ts';
import { noMount } from '../../support/small-file-system.ts';
import { writingDisk } from '../../support/virtio-guests.ts';
import { kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

type Test = Parameters<typeof temporaryFolder>[0];

const MiB = 1 << 20;
const sector = 2048;
const data = Uint8Array.from({ length: 4096 }, (_, index) => (index * 11) & 0xff);

/** A file system of 1 MiB that is full, with a sparse disk of 4 MiB on it. */
interface FullDisk {
  readonly disk: string;
  /** Makes room. */
  free(): void;
}

function fullDisk(t: Test): FullDisk {
  const folder = temporaryFolder(t);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]);
  t.teardown(() => spawnSync('umount', ['-l', folder]));
  const disk = join(folder, 'disk.img');
  const fd = openSync(disk, 'w');
  ftruncateSync(fd, 4 * MiB);
  closeSync(fd);
  const filler = join(folder, 'filler');
  try {
    writeFileSync(filler, new Uint8Array(2 * MiB));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
  return { disk, free: () => unlinkSync(filler) };
}

const skip = noKvm() || noMount();

function devices(path: string, werror: DiskConfig['werror']) {
  const disk = { path, readonly: false, direct: false, werror };
  return { disks: [disk], nets: [], rng: { kind: 'none' } as const };
}

for (const werror of ['enospc', 'stop'] as const) {
  test(`werror=${werror}: a full host disk stops the machine, which writes again once it goes on`, {
    skip,
  }, async (t) => {
    const { disk, free } = fullDisk(t);
    const notices: string[] = [];
    const machine = bootMachine(t, writingDisk(sector, data), {
      devices: devices(disk, werror),
      notice: (text) => notices.push(text),
    });
    const monitor = new Monitor(machine);
    const events: unknown[] = [];
    monitor.subscribe(({ event, data }) => events.push([event, data]));
    await until(() => machine.state === 'paused');
    t.match(notices.join('\n'), /disk disk0: .*ENOSPC/);
    const failure = { device: 'disk0', 'node-name': 'disk0', operation: 'write', action: 'stop' };
    t.strictSame(events, [
      ['BLOCK_IO_ERROR', { ...failure, nospace: true, reason: 'ENOSPC' }],
      ['STOP', undefined],
    ]);
    t.equal(monitor.status, 'io-error');
    t.equal(takeOutput(machine), '', 'the guest knows of nothing');

    machine.resume();
    await until(() => machine.state === 'paused');
    t.equal(takeOutput(machine), '', 'there is still no room, and it stops again');

    free();
    machine.resume();
    t.match(await machine.ended, { kind: 'power-off' });
    t.equal(takeOutput(machine), 'OK');
    t.ok(
      readFileSync(disk)
        .subarray(sector * 512, sector * 512 + data.length)
        .equals(data),
      'what it wrote is there',
    );
  });
}

test('werror=report: the guest is told that the disk is full', { skip }, async (t) => {
  const { disk } = fullDisk(t);
  const notices: string[] = [];
  const machine = bootMachine(t, writingDisk(sector, data), {
    devices: devices(disk, 'report'),
    notice: (text) => notices.push(text),
  });
  const failures: unknown[] = [];
  machine.events.listen((event) => event.kind === 'disk-failure' && failures.push(event.failure));
  t.match(await machine.ended, { kind: 'power-off' });
  t.equal(takeOutput(machine), 'BAD');
  t.match(failures, [{ disk: 'disk0', operation: 'write', stops: false, noSpace: true }]);
  t.match(notices.join('\n'), /disk disk0: .*ENOSPC/);
});

test('whoever watches a machine that nobody protects is told of its full disk, each time that it stops for it', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const folder = temporaryFolder(t);
  const at = (name: string): string => join(folder, name);
  const control = ['--control', at('socket')];
  const { disk } = fullDisk(t);
  const start = (...args: readonly string[]): VmmProcess => {
    const flags = ['--on-event', `cat >> ${at('told')}`, '--name', 'web', ...control];
    const vmm = new VmmProcess([...args, ...flags]);
    t.teardown(() => vmm.child.kill('SIGKILL'));
    return vmm;
  };
  /** What was told, once it is so much. */
  const told = async (count: number): Promise<unknown[]> => {
    const lines = (): string[] => {
      const text = existsSync(at('told')) ? readFileSync(at('told'), 'utf8') : '';
      return text.split('\n').slice(0, -1);
    };
    await until(() => lines().length >= count);
    return lines().map((line) => JSON.parse(line));
  };
  const event = { event: 'disk-error', pair: 'web', role: 'primary', text: 'disk root cannot be written: ENOSPC' };

  const ran = start('run', '--kernel', kernelFile(folder, writingDisk(sector, data)), '--disk', `path=${disk},id=root`);
  t.match(await told(1), [{ ...event, sequence: 1 }]);
  t.match((await runVmm(['events', ...control])).stdout, /disk root cannot be written: ENOSPC/);
  t.equal((await runVmm(['resume', ...control])).code, 0);
  t.match((await told(2))[1], { ...event, sequence: 2 });
  const saved = await runVmm(['snapshot', '--stop', at('web.snap'), ...control]);
  t.equal(saved.code, 0, saved.stderr);
  await ran.ended;

  start('restore', at('web.snap'));
  t.match((await told(3))[2], { ...event, sequence: 1 }, 'of one that is restored as well');
});

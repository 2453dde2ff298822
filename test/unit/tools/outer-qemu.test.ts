import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { emulatedDiskPath, outerQemuCommand, qemuFds, tscKhz } from '../../../tools/lab/outer-qemu.ts';

/** The command line of a host with so many disks; the emulator's packages are not looked at. */
function commandLine(root: string, disks: number): string[] {
  mkdirSync(join(root, 'usr/lib'), { recursive: true });
  writeFileSync(join(root, 'usr/lib/ld-linux-x86-64.so.2'), '');
  const set = { root, versions: {}, key: '' };
  const image = { kernel: '/k', initramfs: '/i', disk: '/d' };
  return outerQemuCommand(set, { name: 'host1', memoryMib: 512, image, network: undefined, disks, bootsDisk: false })
    .args;
}

t.test('disks are inherited descriptors, after the own disk of the host', async (t) => {
  const args = commandLine(t.testdir({}), 2);
  const devices = args.filter((arg) => arg.startsWith('virtio-blk-pci'));
  t.same(devices, ['virtio-blk-pci,drive=disk', 'virtio-blk-pci,drive=scratch0', 'virtio-blk-pci,drive=scratch1']);
  for (const index of [0, 1]) {
    const drive = args.find((arg) => arg.includes(`id=scratch${index}`));
    t.match(drive, new RegExp(`file=/proc/self/fd/${qemuFds.disks + index},format=raw`));
    t.notMatch(drive, /readonly|snapshot/);
  }
  t.same([0, 1].map(emulatedDiskPath), ['/dev/vdb', '/dev/vdc']);
});

t.test('a host without disks has only its own', async (t) => {
  t.notMatch(commandLine(t.testdir({}), 0).join(' '), /scratch/);
});

t.test('the frequency of the time stamp counter is believed where a hypervisor tells it', async (t) => {
  const cpuinfo = (...flags: string[]): string =>
    `cpu MHz\t\t: 2596.142\nflags\t\t: fpu tsc ${flags.join(' ')}\nbogomips\t: 5192.28\n`;
  t.equal(tscKhz(cpuinfo('constant_tsc', 'tsc_known_freq', 'hypervisor')), 2_596_142);
  t.equal(tscKhz(cpuinfo('constant_tsc', 'hypervisor')), undefined, 'measured');
  t.equal(tscKhz(cpuinfo('constant_tsc', 'tsc_known_freq')), undefined, 'what the CPU runs at just now');
  t.equal(tscKhz(''), undefined);
});

t.test('a host is told the frequency that is known', async (t) => {
  const set = { root: t.testdir({ usr: { lib: { 'ld-linux-x86-64.so.2': '' } } }), versions: {}, key: '' };
  const image = { kernel: '/k', initramfs: '/i', disk: '/d' };
  const host = { name: 'host1', memoryMib: 512, image, network: undefined, disks: 0, bootsDisk: false };
  t.match(outerQemuCommand(set, { ...host, tscKhz: 2_596_142 }).args.join(' '), / tsc_early_khz=2596142 /);
  t.notMatch(outerQemuCommand(set, host).args.join(' '), /tsc_early_khz/);
});

t.test('a host that boots its disk is told which one, and gives its card the address itself', async (t) => {
  const set = { root: t.testdir({ usr: { lib: { 'ld-linux-x86-64.so.2': '' } } }), versions: {}, key: '' };
  const image = { kernel: '/k', initramfs: '/i', disk: '/d' };
  const network = { address: '10.77.0.1', mac: '52:54:00:4c:00:01' };
  const host = { name: 'host1', memoryMib: 512, image, network, disks: 1 };
  const words = (bootsDisk: boolean): string => outerQemuCommand(set, { ...host, bootsDisk }).args.join(' ');
  t.match(words(true), / lab\.root=\/dev\/vdb /);
  t.notMatch(words(true), /lab\.address=/);
  t.match(words(false), / lab\.address=10\.77\.0\.1\/24 /);
  t.notMatch(words(false), /lab\.root=/);
});

import { spawnSync } from 'node:child_process';
import { closeSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'tap';
import { openDiskFile } from '../../../src/block/disk-file.ts';
import { foreignFormat, partitionTableSector } from '../../../src/block/disk-format.ts';
import { Overlay } from '../../../src/block/overlay.ts';
import { RawFile } from '../../../src/block/raw-file.ts';
import { DiskRig } from '../../support/disk-rig.ts';
import { openFiles } from '../../support/open-files.ts';

function image(at: number, mark: string): Buffer {
  const bytes = Buffer.alloc(65536, 0);
  bytes.write(mark, at, 'latin1');
  return bytes;
}

const noTool = spawnSync('qemu-img', ['--version']).status === 0 ? false : 'no qemu-img here';

for (const [format, at, mark] of [
  ['qcow2', 0, 'QFI\xfb\0\0\0\x03'],
  ['QED', 0, 'QED\0'],
  ['VMDK', 0, 'KDMV'],
  ['VMDK', 0, '# Disk DescriptorFile\nversion=1'],
  ['VDI', 64, '\x7f\x10\xda\xbe'],
  ['VHDX', 0, 'vhdxfile'],
  ['VHD', 0, 'conectix'],
] as const) {
  test(`a file that begins as ${format} is no disk, unless format=raw says so: ${mark.slice(0, 8).trim()}`, async (t) => {
    const rig = new DiskRig(t);
    const path = rig.path('disk');
    const content = image(at, mark);
    writeFileSync(path, content);
    const before = openFiles();
    for (const options of [{}, { readOnly: true }]) {
      t.throws(() => RawFile.open(path, options, rig.engines), {
        code: 'DISK',
        message:
          `disk ${path} is a ${format} image, and disks here are raw: qemu-img convert -O raw ${path} NEW.img makes ` +
          'a raw one; format=raw takes its bytes as they are',
      });
    }
    t.strictSame(openFiles(), before);
    t.strictSame(readFileSync(path), content);
    const file = RawFile.open(path, { raw: true }, rig.engines);
    t.strictSame(rig.read(file, 0, 4096), content.subarray(0, 4096));
    file.close();
  });
}

test('what qemu-img makes is known', { skip: noTool }, async (t) => {
  const rig = new DiskRig(t);
  for (const format of ['qcow2', 'qed', 'vmdk', 'vdi', 'vhdx', 'vpc', 'parallels', 'qcow']) {
    const path = rig.path(format);
    const made = spawnSync('qemu-img', ['create', '-f', format, path, '8M'], { encoding: 'utf8' });
    if (made.status === 0) t.type(foreignFormat(readFileSync(path)), 'string', format);
    else t.match(made.stderr, /Unknown|not supported/, `${format} is none that this qemu-img makes`);
  }
  spawnSync('qemu-img', ['create', '-f', 'qcow2', '-o', 'preallocation=metadata', rig.path('q'), '256M']);
  t.throws(() => RawFile.open(rig.path('q'), {}, rig.engines), { code: 'DISK', message: /is a qcow2 image/ });
});

test('what is none of those is raw: nothing, a file system, a partition table, a mark elsewhere', async (t) => {
  t.equal(foreignFormat(new Uint8Array(0)), undefined);
  t.equal(foreignFormat(Buffer.from('QFI')), undefined);
  t.equal(foreignFormat(image(0x438, '\x53\xef')), undefined);
  t.equal(foreignFormat(image(512, 'EFI PART')), undefined);
  t.equal(foreignFormat(image(1, 'QFI\xfb')), undefined);
});

test('an overlay is not a disk by itself, and its user is told how to name it', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('base'), Buffer.alloc(4096));
  const base = RawFile.open(rig.path('base'), { readOnly: true }, rig.engines);
  Overlay.open(rig.path('top'), base, {}, rig.engines).close();
  t.throws(() => RawFile.open(rig.path('top'), {}, rig.engines), {
    code: 'DISK',
    message: `disk ${rig.path('top')} is an overlay: name its base with path=, and this file with overlay=${rig.path('top')}`,
  });
});

test('a partition table tells which sectors it was made for', async (t) => {
  const rig = new DiskRig(t);
  for (const size of [512, 4096]) {
    t.equal(partitionTableSector(image(size, 'EFI PART')), size);
    writeFileSync(rig.path('disk'), image(size, 'EFI PART'));
    const file = openDiskFile(rig.path('disk'));
    closeSync(file.fd);
    t.equal(file.tableSector, size);
  }
  t.equal(partitionTableSector(image(0, 'EFI PART')), undefined);
  const both = image(512, 'EFI PART');
  both.write('EFI PART', 4096, 'latin1');
  t.equal(partitionTableSector(both), undefined, 'an older table may be left behind');
});

test('a disk of sectors of 4096 bytes holds whole ones', async (t) => {
  const rig = new DiskRig(t);
  writeFileSync(rig.path('disk'), Buffer.alloc(4096 + 512));
  t.throws(() => RawFile.open(rig.path('disk'), { sector: 4096 }, rig.engines), {
    message: /has 4608 bytes, not a multiple of 4096: truncate -s %4096 /,
  });
  RawFile.open(rig.path('disk'), {}, rig.engines).close();
});

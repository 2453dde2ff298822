import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { recitingPatiently } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { noMount } from '../../support/small-file-system.ts';
import { kernelFile, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const missing = /^colo-vmm: (\d+) bytes of output are missing here\r$/gm;

test('a serial log on a full disk goes on when there is room, and says how much is missing', {
  skip: noKvm() || noMount(),
  timeout: 120_000,
}, async (t) => {
  const folder = temporaryFolder(t);
  const disk = execFileSync('mktemp', ['-d', '-p', folder], { encoding: 'utf8' }).trim();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk]);
  t.teardown(() => spawnSync('umount', ['-l', disk]));
  const [log, filler] = [join(disk, 'serial.log'), join(disk, 'filler')];
  writeFileSync(filler, new Uint8Array((16 * 1024 - 64) * 1024));
  const kernel = kernelFile(folder, recitingPatiently());
  const vmm = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', '--serial', `file=${log}`], {
    env: { COLO_VMM_RUNTIME: folder },
  });
  t.teardown(() => vmm.child.kill('SIGKILL'));

  // 64 KiB are left of the disk.
  await until(() => vmm.stderr.includes('ENOSPC'));
  const full = statSync(log).size;
  unlinkSync(filler);
  await until(() => statSync(log).size > full + 4096);
  t.equal((await vmm.endedBySignal('SIGTERM')).code, 143);

  const text = readFileSync(log, 'latin1');
  const notes = [...text.matchAll(missing)];
  t.equal(notes.length, 1);
  t.ok(Number(notes[0]?.[1]) > 0);
  t.equal(vmm.stderr.match(/ENOSPC/g)?.length, 1, 'told once');
  const [before = '', after = ''] = text.split(/\r\ncolo-vmm: .*\r\n/);
  t.equal(before.length, full);
  const letters = 26;
  const gap = (after.charCodeAt(0) - before.charCodeAt(before.length - 1) - 1 + letters) % letters;
  t.equal(Number(notes[0]?.[1]) % letters, gap, 'as much as is missing of the alphabet');
});

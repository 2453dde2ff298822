import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { reciting } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

test('a named pipe that nobody reads holds up nobody, and its readers come and go', {
  skip: noKvm(),
  timeout: 120_000,
}, async (t) => {
  const folder = temporaryFolder(t);
  const env = { COLO_VMM_RUNTIME: folder };
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const kernel = kernelFile(folder, reciting());
  const vmm = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', '--serial', `file=${pipe}`], { env });
  t.teardown(() => vmm.child.kill('SIGKILL'));
  let state: unknown;
  while (state !== 'running') {
    const { code, stdout } = await runVmm(['status', '--json'], { env });
    if (code === 0) state = JSON.parse(stdout).state;
    else if (vmm.child.exitCode !== null) throw new Error(vmm.stderr);
  }
  for (const reader of ['the first', 'the second']) {
    const fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    const bytes = new Uint8Array(4096);
    let got = 0;
    await until(() => {
      try {
        got += readSync(fd, bytes);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
      return got > 100;
    });
    closeSync(fd);
    t.ok(got > 100, reader);
  }
  t.equal((await vmm.endedBySignal('SIGTERM')).code, 143);
});

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { buildGuestInitramfs } from '../../tools/images/initramfs.ts';
import { guestKernel, imageSuites } from '../../tools/images/kernel.ts';
import { fetchPackages } from '../../tools/packages/package-set.ts';
import { progressToStderr } from '../../tools/packages/progress.ts';
import { labHost, patienceMs, startGuest } from '../support/lab-guest.ts';

const progress = progressToStderr('lab: ');

t.test('kernels that are not the usual one', { timeout: 0 }, async (t) => {
  const { lab, host } = await labHost(t);

  await t.test('one that unpacks itself lands at the same address at every start', async (t) => {
    const kernel = '/opt/guest/generic/vmlinuz';
    await host.push(await guestKernel('generic', { progress }), kernel);
    const initrd = '/opt/guest/generic/initrd.cpio';
    await host.push(await buildGuestInitramfs({ kernel: 'generic', modules: ['button'], progress }), initrd);
    const addresses: string[] = [];
    for (let start = 0; start < 2; start++) {
      const guest = startGuest(lab, host, { kernel, initrd });
      await guest.session.login(patienceMs);
      addresses.push(await guest.session.run("awk '/ _text$/ { print $1 }' /proc/kallsyms", patienceMs));
      guest.session.type('poweroff -f');
      t.equal((await guest.ended()).status, 0);
    }
    t.same(addresses, ['ffffffff81000000', 'ffffffff81000000']);
  });

  await t.test('memtest86+ goes everywhere in its memory', async (t) => {
    const memtest = await fetchPackages({ names: ['memtest86+'], suites: imageSuites, progress });
    const kernel = '/opt/guest/memtest.bin';
    await host.push(join(memtest.root, 'boot/memtest86+x64.bin'), kernel);
    const guest = startGuest(lab, host, { kernel, initrd: undefined, memory: '8M', cmdline: 'console=ttyS0,115200' });
    // The last test waits for minutes between writing and reading; those before it have been everywhere.
    const deadline = performance.now() + patienceMs;
    while (!guest.session.transcript.includes('[Bit fade test') && performance.now() < deadline) await sleep(200);
    const screen = guest.session.transcript;
    t.match(screen, /#10 +\[Bit fade test/, 'all tests but the last one are done');
    t.match(screen, /Errors: 0/);
    t.notMatch(screen, /Errors: *[1-9]/);
    guest.process.kill();
    await guest.ended();
  });

  t.equal(lab.failure, undefined, 'the lab itself was sound');
});

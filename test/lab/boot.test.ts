import t from 'tap';
import { labHost, patienceMs, startGuest } from '../support/lab-guest.ts';
import { plainKernel } from '../support/plain-kernel.ts';

t.test('a stock Debian kernel boots, answers and powers off', { timeout: 0 }, async (t) => {
  const { lab, host } = await labHost(t);

  for (const cpus of [1, 2, 4, 8]) {
    await t.test(`with ${cpus} vCPUs`, async (t) => {
      const guest = startGuest(lab, host, { cpus });
      await guest.session.login(patienceMs);
      t.equal(await guest.session.run('nproc', patienceMs), String(cpus), 'all vCPUs are there');
      t.match(await guest.session.run('uname -r', patienceMs), /cloud-amd64$/);
      const complaints = 'dmesg | grep -iE "BUG:|WARNING: CPU|soft lockup|rcu.*stall|unhandled|ACPI.*Error" || true';
      t.equal(await guest.session.run(complaints, patienceMs), '', 'the kernel has nothing to complain of');
      guest.session.type('poweroff -f');
      const { status, report } = await guest.ended();
      t.equal(status, 0);
      t.match(report, /the guest powered off/);
    });
  }

  await t.test('as an uncompressed vmlinux, by its PVH entry', async (t) => {
    await host.push(await plainKernel(), '/opt/guest/vmlinux');
    const guest = startGuest(lab, host, { cpus: 2, kernel: '/opt/guest/vmlinux' });
    await guest.session.login(patienceMs);
    t.equal(await guest.session.run('nproc', patienceMs), '2');
    guest.session.type('poweroff -f');
    t.equal((await guest.ended()).status, 0);
  });

  await t.test('at a random address when that is asked for, and at the linked one otherwise', async (t) => {
    const addressOfText = async (flags: string[]): Promise<string> => {
      const guest = startGuest(lab, host, { flags });
      await guest.session.login(patienceMs);
      const address = await guest.session.run("awk '/ _text$/ { print $1 }' /proc/kallsyms", patienceMs);
      guest.session.type('poweroff -f');
      t.equal((await guest.ended()).status, 0);
      return address;
    };
    t.equal(await addressOfText([]), 'ffffffff81000000');
    // One of some 500 places: three starts at the linked one are no chance.
    const random = [await addressOfText(['--kaslr', 'on']), await addressOfText(['--kaslr', 'on'])];
    t.match(random[0], /^ffffffff[89ab]\w+00000$/);
    t.notSame(random, ['ffffffff81000000', 'ffffffff81000000']);
  });

  await t.test('in shared memory', async (t) => {
    const guest = startGuest(lab, host, { flags: ['--memory', '400M,shared=on'] });
    await guest.session.login(patienceMs);
    const mib = Number(await guest.session.run("awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo", patienceMs));
    t.ok(mib > 330 && mib < 400, `${mib} MiB`);
    guest.session.type('poweroff -f');
    t.equal((await guest.ended()).status, 0);
  });

  t.equal(lab.failure, undefined, 'the lab itself was sound');
});

t.test('a guest ends in each way it can, and the exit code tells which', { timeout: 0 }, async (t) => {
  const { lab, host } = await labHost(t);
  const ends = [
    { name: 'a reboot through ACPI', type: 'reboot -f', status: 3, report: /asked for a reboot/ },
    {
      name: 'a reboot through the i8042',
      cmdline: 'reboot=k',
      type: 'reboot -f',
      status: 3,
      report: /asked for a reboot/,
    },
    {
      name: "a reboot through the chipset's reset register",
      cmdline: 'reboot=p',
      type: 'reboot -f',
      status: 3,
      report: /asked for a reboot/,
    },
    {
      name: 'a triple fault',
      cmdline: 'reboot=t',
      type: 'reboot -f',
      status: 2,
      report: /triple-faulted[\s\S]*rip[\s\S]*console/,
    },
    { name: 'a panic', type: 'echo c > /proc/sysrq-trigger', status: 4, report: /the guest's kernel panicked/ },
    {
      name: "a panic that is the kernel's own affair",
      flags: ['--on-panic', 'run'],
      type: 'echo c > /proc/sysrq-trigger',
      status: 3,
      report: /the guest's kernel panicked[\s\S]*asked for a reboot/,
    },
  ];
  for (const { name, cmdline, flags, type, status, report } of ends) {
    await t.test(name, async (t) => {
      const guest = startGuest(lab, host, {
        ...(cmdline === undefined ? {} : { cmdline }),
        ...(flags === undefined ? {} : { flags }),
      });
      await guest.session.login(patienceMs);
      guest.session.type(type);
      const end = await guest.ended();
      t.equal(end.status, status);
      t.match(end.report, report);
    });
  }

  await t.test('a guest that reboots, or that was reset, is there again', async (t) => {
    const guest = startGuest(lab, host, {
      cpus: 2,
      flags: ['--name', 'again', '--reboot', 'reset', '--on-panic', 'run'],
    });
    await guest.session.login(patienceMs);
    const isNew = async (): Promise<void> => {
      t.equal(
        await guest.session.run('ls /tmp/life 2>/dev/null | wc -l; touch /tmp/life', patienceMs),
        '0',
        'nothing of its RAM is left',
      );
      t.equal(await guest.session.run('nproc', patienceMs), '2', 'all vCPUs have started');
      const drift = Number(await guest.session.run('date +%s', patienceMs)) - Date.now() / 1000;
      t.ok(Math.abs(drift) < 120, `its clock is ${drift} s off`);
      const seconds = Number(await guest.session.run('cut -d. -f1 /proc/uptime', patienceMs));
      t.ok(seconds < 120, 'and its uptime began anew');
    };
    await isNew();
    await guest.session.reboot('reboot -f', patienceMs);
    await isNew();
    await guest.session.reboot('echo c > /proc/sysrq-trigger', patienceMs);
    await isNew();
    await guest.session.reboot('echo b > /proc/sysrq-trigger', patienceMs);
    await isNew();
    guest.session.type('poweroff -f');
    const { status, report } = await guest.ended();
    t.equal(status, 0);
    t.match(report, /the guest's kernel panicked[\s\S]*the guest powered off/);
  });

  await t.test('the power button reaches its user space', async (t) => {
    const guest = startGuest(lab, host, { flags: ['--name', 'button'] });
    await guest.session.login(patienceMs);
    const pressed = guest.session.run('head -c 24 /dev/input/event0 | wc -c', patienceMs);
    const qmp = ['{"execute":"qmp_capabilities"}', '{"execute":"system_powerdown"}'].join('\n');
    const client =
      'const socket = require("net").connect("/run/colo-vmm/button.sock"); socket.pipe(process.stdout);' +
      'setTimeout(() => socket.end(process.argv[1] + "\\n"), 5000)';
    const { stdout } = await host.run(['node', '-e', client, qmp], { timeoutMs: patienceMs });
    t.match(stdout, /"return":\{\}[\s\S]*"return":\{\}/);
    t.equal(await pressed, '24', 'an input event came');
    guest.session.type('poweroff -f');
    t.equal((await guest.ended()).status, 0);
  });

  t.equal(lab.failure, undefined, 'the lab itself was sound');
});

import { type Test, test } from 'tap';
import { fioProgram } from '../../tools/bench/fio.ts';
import { guestCpuFlags } from '../../tools/guest-flags.ts';
import { buildGuestInitramfs } from '../../tools/images/initramfs.ts';
import { guestKernel } from '../../tools/images/kernel.ts';
import { programFiles } from '../../tools/images/program-files.ts';
import { bundle } from '../../tools/lab/bundle.ts';
import type { Host } from '../../tools/lab/host.ts';
import { type Lab, startLab } from '../../tools/lab/lab.ts';
import { tortureInit, tortureNetwork } from '../../tools/torture/guest-init.ts';
import { clockDriftMs, clockErrorMs, complaints, type TortureResult } from '../../tools/torture/report.ts';
import { vmmFiles, vmmInHost } from '../../tools/vmm-files.ts';
import { guestFiles, patienceMs } from '../support/lab-guest.ts';

const mib = 1024 * 1024;
const disk = '/tmp/disk.img';
const driver = '/opt/torture/driver.mjs';
/** The whole of it takes a quarter of an hour: with the other tests there are fewer rounds. */
const isAlone = process.env.COLO_TEST_GREP?.includes('torture') === true;
const rounds = isAlone ? { reload: 500, restore: 50 } : { reload: 20, restore: 1 };

/** A lab of one host with a disk and a TAP for the guest. */
async function tortureHost(t: Test): Promise<{ lab: Lab; host: Host }> {
  const kernel = await guestKernel();
  const initrd = await buildGuestInitramfs({
    modules: ['virtio_mmio', 'virtio_blk', 'virtio_net'],
    files: await programFiles(fioProgram),
    init: tortureInit,
  });
  const lab = await startLab({
    files: [...vmmFiles, { source: kernel, path: guestFiles.kernel }, { source: initrd, path: guestFiles.initrd }],
    memoryMib: 2048,
  });
  t.teardown(() => lab.close());
  const [host] = lab.hosts;
  if (host === undefined) throw new Error('the lab has no host');
  await host.push(Buffer.from(bundle(new URL('../../tools/torture/driver.ts', import.meta.url).href)), driver, 0o644);
  const { tap, host: address, bits } = tortureNetwork;
  for (const command of [
    `truncate -s ${32 * mib} ${disk}`,
    `ip tuntap add ${tap} mode tap vnet_hdr && ip address add ${address}/${bits} dev ${tap} && ip link set ${tap} up`,
  ]) {
    const { status, stderr } = await host.run(command, { timeoutMs: patienceMs });
    if (status !== 0) throw new Error(`"${command}": ${stderr}`);
  }
  return { lab, host };
}

/** Starts the busy guest and waits until its services answer. */
async function startBusyGuest(lab: Lab, host: Host, cpus: number): Promise<void> {
  const guest = host.spawn([
    ...[
      'node',
      vmmInHost,
      'run',
      '--name',
      'torture',
      '--kernel',
      guestFiles.kernel,
      '--initrd',
      guestFiles.initrd,
      '--reboot',
      'exit',
    ],
    ...['--cpus', String(cpus), '--memory', '256M', '--cmdline', 'console=ttyS0 quiet panic=-1'],
    ...['--disk', `path=${disk}`, '--net', `tap=${tortureNetwork.tap},mac=${tortureNetwork.mac}`],
    ...['--serial', 'file=/tmp/console', ...guestCpuFlags(lab.mode)],
  ]);
  let said = '';
  guest.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const ended = guest.exit.then(({ status }) => {
    throw new Error(`the VMM ended with status ${status}`);
  });
  ended.catch(() => {});
  const ready = `until curl -sf -m 20 http://${tortureNetwork.guest}/cgi-bin/report | grep -q '^clock [0-9]'; do sleep 1; done`;
  try {
    await Promise.race([host.run(ready, { timeoutMs: patienceMs }), ended]);
  } catch (cause) {
    const state = await host.run(
      `node ${vmmInHost} status --vm torture --json; tail -c 2000 /tmp/console; ip -s link show ${tortureNetwork.tap}; ` +
        'cat /sys/kernel/debug/kvm/exits; dmesg | tail -5',
      { timeoutMs: patienceMs },
    );
    guest.kill('SIGKILL');
    throw new Error(`the busy guest is not ready; ${said}\n${state.stdout}${state.stderr}`, { cause });
  }
}

test('torture', { timeout: 0 }, async (t) => {
  const { lab, host } = await tortureHost(t);
  for (const cpus of [1, 4]) {
    for (const mode of ['reload', 'restore'] as const) {
      const what = mode === 'reload' ? 'saved and loaded in place' : 'restored in a new process';
      const name = `a busy guest with ${cpus} vCPU${cpus > 1 ? 's' : ''} is ${what}, ${rounds[mode]} in all`;
      await t.test(name, { timeout: 0 }, async (t) => {
        await startBusyGuest(lab, host, cpus);
        const { status, stdout, stderr } = await host.run(
          ['node', driver, String(rounds[mode]), mode, 'node', vmmInHost],
          { timeoutMs: 3_600_000, onOutput: (text, from) => from === 'stderr' && process.stderr.write(text) },
        );
        t.equal(status, 0, 'the stream to the guest was never broken nor wrong');
        if (status === 0) {
          const result = JSON.parse(stdout) as TortureResult;
          // Each round may be off by what it takes to read one clock after the other.
          t.same(complaints(result, 300 + result.rounds), []);
          const { stoppedMs, longestStopMs, longestJumpMs, echoedBytes, pings, after } = result;
          t.comment(
            `stopped ${stoppedMs.toFixed(0)} ms in all, ${longestStopMs.toFixed(0)} at most; clock off by ` +
              `${clockDriftMs(result).toFixed(0)} ms, ${clockErrorMs(result).toFixed(0)} more or less; ${echoedBytes} bytes echoed, ${pings.received} of ${pings.sent} pings; ` +
              `sums ${after.sums}, ${after.sectorsWritten} sectors written, longest sleep ` +
              `${after.longestRoundMs} ms, longest jump ${longestJumpMs.toFixed(0)} ms`,
          );
        } else t.comment(`${stderr}\n${(await host.run('tail -c 2000 /tmp/console; dmesg | tail -20')).stdout}`);
        const { stdout: end, status: stopped } = await host.run(
          ['node', vmmInHost, 'stop', '--vm', 'torture', '--force'],
          { timeoutMs: patienceMs },
        );
        t.equal(stopped, 0, end);
      });
    }
  }
  t.equal(lab.failure, undefined, 'the lab itself was sound');
});

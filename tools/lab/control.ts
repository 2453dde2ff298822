import { setTimeout as sleep } from 'node:timers/promises';
import { QmpClient } from '../../src/vmm/client/qmp-client.ts';
import { buildGuestInitramfs } from '../images/initramfs.ts';
import type { Progress } from '../packages/progress.ts';
import { type ControlRun, faultsOf, readAccount } from './control-verdict.ts';
import { LabError } from './errors.ts';
import type { Host } from './host.ts';
import { startLab } from './lab.ts';

/**
 * Proves the lab before anything is blamed on the VMM under test: Debian's QEMU runs a guest that rewrites 16 MiB without
 * end, checks what it wrote, and watches its timer, while it is stopped and continued twice a second.
 */
const guestInit = `#!/bin/sh
echo 'guest: init'
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o size=64m tmpfs /tmp
(
  n=0
  while :; do
    n=$((n + 1))
    read before _ < /proc/uptime
    sleep 1
    read after _ < /proc/uptime
    echo "tick $n $before $after"
  done
) &
for p in 0 1; do head -c 16777216 /dev/urandom > /tmp/p$p; done
sum0=$(md5sum < /tmp/p0)
sum1=$(md5sum < /tmp/p1)
n=0
while :; do
  n=$((n + 1))
  if [ $((n % 2)) = 0 ]; then p=0 want=$sum0; else p=1 want=$sum1; fi
  dd if=/tmp/p$p of=/tmp/q bs=64k conv=notrunc 2> /dev/null
  if [ "$(md5sum < /tmp/q)" = "$want" ]; then echo "round $n right"; else echo "round $n wrong"; fi
done
`;

const consolePath = '/run/control-console.log';
const guestArgs = [
  ...['-machine', 'pc', '-enable-kvm', '-smp', '1', '-m', '256', '-nodefaults', '-no-user-config', '-display', 'none'],
  // XSETBV does not reach the emulated host's KVM, so the guest must not use what depends on it.
  ...['-cpu', 'host,-xsave,-xsaveopt,-xsavec,-xgetbv1,-avx,-avx2,-f16c,-fma'],
  ...['-kernel', '/boot/vmlinuz', '-initrd', '/run/control.cpio', '-append', 'console=ttyS0 quiet panic=-1'],
  ...['-serial', `file:${consolePath}`, '-qmp', 'stdio'],
];

const pauseEveryMs = 500;
/** Long enough for the guest to notice, short enough for it to work most of the time. */
const pauseLengthMs = 100;
const bootTimeoutMs = 120_000;

export interface ControlReport extends ControlRun {
  readonly faults: readonly string[];
}

/** Runs the control for `minutes`. Throws a {@link LabError} when the emulated host itself fails. */
export async function runControl(options: { minutes: number; progress: Progress }): Promise<ControlReport> {
  const { minutes, progress } = options;
  const initramfs = await buildGuestInitramfs({ modules: [], init: guestInit, progress });
  const lab = await startLab({ files: [{ source: initramfs, path: '/run/control.cpio' }], progress });
  try {
    const [host] = lab.hosts;
    if (host === undefined) throw new LabError('the lab came without a host');
    const run = await pauseAndContinue(host, minutes, progress);
    if (lab.failure !== undefined) throw lab.failure;
    return { ...run, faults: faultsOf(run) };
  } finally {
    await lab.close();
  }
}

async function pauseAndContinue(host: Host, minutes: number, progress: Progress): Promise<ControlRun> {
  const vmm = host.spawn(['qemu-system-x86_64', ...guestArgs]);
  let complaint = '';
  vmm.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  let shutdown: unknown;
  const qmp = new QmpClient(vmm.stdout, vmm.stdin, (event, data) => {
    if (event === 'SHUTDOWN' || event === 'RESET') shutdown = data;
  });
  let endedEarly: string | undefined;
  void vmm.exit.then(
    ({ status, signal }) => {
      endedEarly = `${signal ?? `exit status ${status}`} ${JSON.stringify(shutdown ?? null)} ${complaint.trim()}`;
    },
    (error: Error) => {
      endedEarly = error.message;
    },
  );
  await qmp.execute('qmp_capabilities');
  const consoleText = async () => (await host.pull(consolePath)).toString('utf8');
  const bootDeadline = Date.now() + bootTimeoutMs;
  while (!(await consoleText()).includes('round 1 ')) {
    if (endedEarly !== undefined || Date.now() > bootDeadline) break;
    progress('waiting for the guest to finish its first round');
    await sleep(1000);
  }
  const start = Date.now();
  const end = start + minutes * 60_000;
  let pauses = 0;
  let seen = { length: 0, at: Date.now() };
  while (Date.now() < end && endedEarly === undefined) {
    const due = Date.now() + pauseEveryMs;
    await qmp.execute('stop');
    await sleep(pauseLengthMs);
    await qmp.execute('cont');
    pauses++;
    if (pauses % 20 === 0) {
      const text = await consoleText();
      if (text.length > seen.length) seen = { length: text.length, at: Date.now() };
      const { roundsRight, roundsWrong, ticks } = readAccount(text);
      progress(
        `${Math.round((Date.now() - start) / 1000)} of ${minutes * 60} s: ${pauses} pauses, ` +
          `${roundsRight} rounds right, ${roundsWrong} wrong, ${ticks} ticks`,
      );
    }
    await sleep(Math.max(0, due - Date.now()));
  }
  const durationS = (Date.now() - start) / 1000;
  const early = endedEarly;
  const text = await consoleText();
  if (text.length > seen.length) seen = { length: text.length, at: Date.now() };
  vmm.kill('SIGKILL');
  return {
    guest: readAccount(text),
    pauses,
    durationS,
    silenceS: (Date.now() - seen.at) / 1000,
    endedEarly: early,
  };
}

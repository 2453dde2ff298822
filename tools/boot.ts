import { createHash } from 'node:crypto';
import { guestCpuFlags } from './guest-flags.ts';
import { GuestSession } from './guest-session.ts';
import { buildGuestInitramfs } from './images/initramfs.ts';
import { guestKernel } from './images/kernel.ts';
import type { Host } from './lab/host.ts';
import { startLab } from './lab/lab.ts';
import { chooseMode, readModeFacts } from './lab/mode.ts';
import { progressToStderr } from './packages/progress.ts';
import { vmmFiles, vmmInHost } from './vmm-files.ts';

const cpus = 2;
const memoryMib = 256;
const files = { kernel: '/opt/guest/vmlinuz', initrd: '/opt/guest/initrd.cpio', disk: '/tmp/disk.img' };
const modules = ['virtio_mmio', 'virtio_blk', 'virtio_net', 'ext4'];
const tap = 'tap0';
/** The host's end of the guest's network, and the guest's. */
const network = { host: '192.168.90.1', guest: '192.168.90.2', bits: 24 };
const page = 'colo-vmm: a page from the guest';
const lines = 500_000;
/** What md5sum makes of `seq` with that many lines. */
const digest = createHash('md5')
  .update(Array.from({ length: lines }, (_, index) => `${index + 1}\n`).join(''))
  .digest('hex');

interface Step {
  readonly command: string;
  /** What its answer must be like. */
  readonly expect: RegExp;
}

const steps: readonly Step[] = [
  { command: 'uname -sr', expect: /^Linux \S+cloud-amd64$/ },
  { command: 'nproc', expect: new RegExp(`^${cpus}$`) },
  { command: 'echo $((6 * 7))', expect: /^42$/ },
  { command: "awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo", expect: /^(1[5-9]|2[0-5])\d$/ },
  { command: 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource', expect: /^(kvm-clock|tsc)$/ },
  { command: `mount -t ext4 /dev/vda /mnt && seq ${lines} > /mnt/file && umount /mnt`, expect: /^$/ },
  { command: 'mount -t ext4 /dev/vda /mnt && md5sum /mnt/file', expect: new RegExp(`^${digest} `) },
  { command: 'umount /mnt', expect: /^$/ },
  {
    command: `ip link set eth0 up && ip address add ${network.guest}/${network.bits} dev eth0`,
    expect: /^$/,
  },
  { command: `ping -c 1 -W 60 ${network.host} | grep -c ' 0% packet loss'`, expect: /^1$/ },
  { command: `mkdir /www && echo '${page}' > /www/index.html && httpd -h /www`, expect: /^$/ },
];

/**
 * `npm start -- boot`: one guest on real input. Debian's stock cloud kernel boots under this VMM with two vCPUs, a disk and a
 * network card to a shell; commands go through its serial console and their answers are checked; a file goes through
 * ext4 on the disk and back, a web page from the guest to the host; it powers off. Throws unless the guest did all of it.
 */
export async function boot(): Promise<boolean> {
  const { mode, reason } = chooseMode(readModeFacts(), process.env.LAB);
  // An emulated host is some ten times slower than a machine.
  const patienceMs = mode === 'emulated' ? 180_000 : 20_000;
  tell(
    mode === 'emulated'
      ? `The guest will run in an emulated host, for ${reason}. Everything below is 5 to 20 times slower than on bare metal.`
      : `The guest will run on this machine: ${reason}.`,
  );
  tell('Debian packages are fetched by name once and unpacked in the cache; nothing is installed.');
  const progress = progressToStderr('  ');
  const kernel = await guestKernel('cloud', { progress });
  const initrd = await buildGuestInitramfs({ modules, progress });
  const started = performance.now();
  const lab = await startLab({
    files: [...vmmFiles, { source: kernel, path: files.kernel }, { source: initrd, path: files.initrd }],
    progress,
  });
  try {
    const [host] = lab.hosts;
    if (host === undefined) throw new Error('the lab has no host');
    const hostSeconds = seconds(started);

    const prepared = await host.run(
      `truncate -s 64M ${files.disk} && mkfs.ext4 -q ${files.disk} && modprobe tun; true`,
    );
    if (prepared.stderr !== '') throw new Error(`the host has no disk for the guest: ${prepared.stderr}`);
    const command = [
      ...['node', vmmInHost, 'run', '--kernel', files.kernel, '--initrd', files.initrd, '--reboot', 'exit'],
      ...['--cpus', String(cpus), '--memory', `${memoryMib}M`, '--cmdline', 'console=ttyS0 quiet panic=-1'],
      ...['--disk', `path=${files.disk}`, '--net', `tap=${tap},mac=02:00:00:00:00:01`],
      ...guestCpuFlags(lab.mode),
    ];
    tell(`Host ready after ${hostSeconds} s. Starting the guest:\n\n  $ ${shown(command)}\n`);
    const bootStarted = performance.now();
    const vmm = host.spawn(command);
    // The guest's shell asks the terminal where its cursor is; this terminal would answer to whoever reads next.
    const guest = new GuestSession(vmm, (text) => process.stdout.write(text.replaceAll('\x1b[6n', '')));
    await guest.login(patienceMs);
    const bootSeconds = seconds(bootStarted);
    await inHost(host, `ip address add ${network.host}/${network.bits} dev ${tap}`);
    for (const { command, expect } of steps) {
      const answer = await guest.run(command, patienceMs);
      if (!expect.test(answer)) throw new Error(`"${command}" in the guest answered "${answer}", not ${expect}`);
    }
    const fetched = await inHost(host, `curl --silent --show-error --max-time 60 http://${network.guest}/`);
    if (fetched.trim() !== page) throw new Error(`the host got "${fetched.trim()}" from the guest's web server`);
    const talked = seconds(bootStarted);
    guest.type('poweroff -f');
    const { status } = await vmm.exit;
    if (status !== 0) throw new Error(`the VMM ended with status ${status}: ${guest.errors}`);

    tell(
      '\n\nThe guest did all of it: booted, answered ' +
        steps.length +
        ' commands, kept a file on its disk, served a page to',
    );
    tell('its host, powered off.\n');
    tell(`  host ready        ${hostSeconds} s   (${lab.mode})`);
    tell(`  guest's shell     ${bootSeconds} s   from the start of the VMM`);
    tell(`  commands done     ${talked} s`);
    for (const line of guest.errors.trim().split('\n')) tell(`  ${line}`);
    return true;
  } finally {
    await lab.close();
  }
}

/** Runs a command in the host; what it printed. */
async function inHost(host: Host, command: string): Promise<string> {
  const { status, stdout, stderr } = await host.run(command);
  if (status !== 0) throw new Error(`"${command}" in the host failed: ${stderr.trim()}`);
  return stdout;
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1);
}

function shown(command: readonly string[]): string {
  return command.map((word) => (/^[\w./,=-]+$/.test(word) ? word : `'${word}'`)).join(' ');
}

function tell(text: string): void {
  process.stdout.write(`${text}\n`);
}

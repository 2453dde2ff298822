import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { servicePort } from '../../tools/chaos/guest/service.ts';
import { guestNetwork, serviceProgram } from '../../tools/demo/guest.ts';
import { LabClients } from '../../tools/demo/lab-pair.ts';
import { xsaveFamily } from '../../tools/guest-flags.ts';
import { buildGuestInitramfs } from '../../tools/images/initramfs.ts';
import { guestKernel, imageSuites } from '../../tools/images/kernel.ts';
import { programFiles } from '../../tools/images/program-files.ts';
import { rootFsImage } from '../../tools/images/root-fs.ts';
import type { RemoteProcess } from '../../tools/lab/connection.ts';
import { HostGoneError } from '../../tools/lab/errors.ts';
import type { Host } from '../../tools/lab/host.ts';
import { type Lab, startLab } from '../../tools/lab/lab.ts';
import { fetchPackages } from '../../tools/packages/package-set.ts';
import { vmmBundle, vmmFiles, vmmInHost } from '../../tools/vmm-files.ts';
import { patienceMs } from './lab-guest.ts';

export const units = { run: 'colo-vmm@web', standby: 'colo-vmm-standby@web' } as const;
type Side = 'a' | 'b';

const contrib = fileURLToPath(new URL('../../contrib/', import.meta.url));
const peerPort = 7000;
/** Both hosts boot, and all memory is copied, on a machine that may do other things. */
const pairPatienceMs = 5 * patienceMs;

/** A guest that answers, and goes off when its power button is pressed. */
const init = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
modprobe -a $(cat /etc/modules)
ip link set eth0 up
ip address add ${guestNetwork.address}/${guestNetwork.bits} dev eth0
perl /service.pl &
head -c 24 /dev/input/event0 > /dev/null
echo 'guest: the power button'
poweroff -f
`;

/** What an administrator writes, once: the host's own address is the bridge's. */
const network = (address: string): Record<string, string> => ({
  '10-br0.netdev': '[NetDev]\nName=br0\nKind=bridge\n[Bridge]\nForwardDelaySec=0\nSTP=no\n',
  '10-br0.network': `[Match]\nName=br0\n[Network]\nAddress=${address}/24\nLinkLocalAddressing=no\n`,
  '10-eth0.network': '[Match]\nName=eth0\n[Network]\nBridge=br0\nLinkLocalAddressing=no\n',
});

/** Two Debian hosts with systemd as process 1, on which a pair is set up as docs/operating.md says, and etcd outside. */
export class SystemdHosts {
  readonly lab: Lab;
  readonly etcdUrl: string;
  #etcd: RemoteProcess | undefined;

  private constructor(lab: Lab) {
    this.lab = lab;
    this.etcdUrl = `http://${lab.outside.address}:2379`;
  }

  /** Both are up, with all in its place and no unit enabled. They are gone after the test. */
  static async make(t: Test): Promise<SystemdHosts> {
    const perl = await programFiles({ package: 'perl-base', path: 'usr/bin/perl' });
    const initrd = await buildGuestInitramfs({
      modules: ['virtio_mmio', 'virtio_blk', 'virtio_net', 'button', 'evdev'],
      files: [...perl, { path: 'service.pl', content: serviceProgram('/dev/vda', 'sysseek($disk, 0, 2) / 512') }],
      init,
    });
    const kernel = await guestKernel();
    const etcd = await fetchPackages({ names: ['etcd-server'], suites: imageSuites });
    const lab = await startLab({
      ...{ mode: 'emulated', hosts: 2, outside: true, bootsDisk: true },
      disks: [{ source: await rootFsImage() }],
    });
    t.teardown(() => lab.close());
    const hosts = new SystemdHosts(lab);
    const keys = join(t.testdir(), 'keys');
    await promisify(execFile)(process.execPath, [vmmBundle, 'keys', '--pair', 'web', '--hosts', 'a,b', keys]);
    await lab.outside.push(join(etcd.root, 'usr/bin/etcd'), '/opt/etcd', 0o755);
    await hosts.startEtcd();
    await Promise.all((['a', 'b'] as const).map((side) => hosts.#install(side, { kernel, initrd, keys })));
    return hosts;
  }

  host(side: Side): Host {
    const host = this.lab.hosts[side === 'a' ? 0 : 1];
    if (host === undefined) throw new Error('a pair has two hosts');
    return host;
  }

  /** Resolves when it answers; it knows what it knew. */
  async startEtcd(): Promise<void> {
    const { outside } = this.lab;
    const etcd = outside.spawn([
      ...['/opt/etcd', '--data-dir', '/tmp/etcd', '--log-level', 'error', '--enable-v2=false'],
      ...['--listen-client-urls', this.etcdUrl, '--advertise-client-urls', this.etcdUrl],
      ...['--listen-peer-urls', 'http://127.0.0.1:2380'],
    ]);
    this.#etcd = etcd;
    etcd.exit.catch(() => {});
    for (const stream of [etcd.stdout, etcd.stderr]) stream.resume();
    const { status } = await outside.run(
      `until curl --silent --max-time 2 ${this.etcdUrl}/health | grep -q true; do sleep 0.5; done`,
    );
    if (status !== 0) throw new Error('etcd does not answer');
  }

  async endEtcd(): Promise<void> {
    this.#etcd?.kill('SIGTERM');
    await this.#etcd?.exit;
  }

  /** What an operator does on a new host: the documents' words, in their order. */
  async #install(side: Side, { kernel, initrd, keys }: Record<'kernel' | 'initrd' | 'keys', string>): Promise<void> {
    const host = this.host(side);
    const other = this.host(side === 'a' ? 'b' : 'a');
    const push = (text: string, path: string) => host.push(Buffer.from(text), path);
    for (const [name, text] of Object.entries(network(host.address ?? ''))) {
      await push(text, `/etc/systemd/network/${name}`);
    }
    // Both are copies of one image, and systemd makes the address of a bridge from this.
    await push(`${randomUUID().replaceAll('-', '')}\n`, '/etc/machine-id');
    for (const { source, path } of vmmFiles) await host.push(source, path);
    await host.push(kernel, '/boot/vmlinuz');
    await host.push(initrd, '/boot/guest.cpio');
    for (const name of ['pair.pem', 'certificate.pem', 'key.pem']) {
      await host.push(join(keys, side, name), `/etc/colo-vmm/${side}/${name}`, 0o600);
    }
    const both = {
      ...{ disk: ['path=/srv/web.img'], net: [`tap=tap0,bridge=br0,mac=${guestNetwork.mac}`] },
      // Hosts that share the processors of one machine may be silent for longer than real ones.
      ...{ tls: `dir=/etc/colo-vmm/${side}`, arbiter: `etcd:${this.etcdUrl}`, detection: 5000 },
    };
    const run = {
      ...{ kernel: '/boot/vmlinuz', initrd: '/boot/guest.cpio', cmdline: 'console=ttyS0 quiet panic=-1' },
      ...{ memory: '96M', 'cpu-mask': xsaveFamily.join(','), standby: `${other.address}:${peerPort}`, ...both },
    };
    const standby = { listen: `0.0.0.0:${peerPort}`, peer: `${other.address}:${peerPort}`, ...both };
    await push(JSON.stringify(run), '/etc/colo-vmm/web.json');
    await push(JSON.stringify(standby), '/etc/colo-vmm/web.standby.json');
    for (const unit of Object.values(units)) {
      const name = unit.replace('@web', '@.service');
      await host.push(join(contrib, name), `/etc/systemd/system/${name}`);
    }
    await this.sh(
      side,
      `ln -s ${vmmInHost} /usr/local/bin/colo-vmm
truncate -s 16M /srv/web.img
rm /etc/systemd/network/10-card.network
systemctl disable --now nginx redis-server
systemctl daemon-reload`,
    );
  }

  /** Runs lines of the shell on that host; what they printed. @throws if one fails */
  async sh(side: Side, lines: string): Promise<string> {
    const { status, stdout, stderr } = await this.host(side).run(`set -e\n${lines}`, { timeoutMs: patienceMs });
    if (status !== 0) throw new Error(`host ${side}: "${lines}" ended with ${status}: ${stdout}${stderr}`);
    return stdout.trim();
  }

  /** Takes the power of both, or of one, and gives it back. What was written is on their disks. */
  async powerCycle(...sides: readonly Side[]): Promise<void> {
    await Promise.all(
      sides.map(async (side) => {
        await this.sh(side, 'sync');
        await this.host(side).powerLoss();
        await this.host(side).powerOn();
      }),
    );
  }

  /** Waits until that side says this word. @throws with all that its units said if it never does */
  async says(side: Side, headline: string): Promise<ColoStatus> {
    let last = '';
    for (const deadline = Date.now() + pairPatienceMs; Date.now() < deadline; await sleep(1000)) {
      const { stdout, stderr } = await this.host(side).run('colo-vmm status --vm web --json', {
        timeoutMs: patienceMs,
      });
      last = stdout === '' ? stderr : stdout;
      const colo = stdout === '' ? undefined : (JSON.parse(stdout) as { colo?: ColoStatus }).colo;
      if (colo?.headline === headline) return colo;
    }
    const said = await Promise.all((['a', 'b'] as const).map((each) => this.journal(each, '*')));
    throw new Error(`host ${side} is not ${headline}: ${last}\n${said.join('\n--\n')}`);
  }

  /** Waits until the unit is neither active nor on its way; what systemd knows of it. */
  async ended(side: Side, unit: string): Promise<Record<string, string>> {
    const names = ['ActiveState', 'Result', 'ExecMainCode', 'ExecMainStatus', 'NRestarts'];
    const text = await this.sh(
      side,
      `for try in $(seq 300); do
  case $(systemctl show -P ActiveState ${unit}) in inactive|failed) break ;; esac
  sleep 0.5
done
systemctl show ${names.map((name) => `-p ${name}`).join(' ')} ${unit}`,
    );
    return Object.fromEntries(text.split('\n').map((line) => line.split('=') as [string, string]));
  }

  /** What a unit and its manager wrote since the host's boot. */
  journal(side: Side, unit: string): Promise<string> {
    return this.sh(side, `journalctl --boot --no-pager --output cat --unit '${unit.replace('*', 'colo-vmm*')}'`);
  }

  /** Has clients outside ask until so many are answered. @throws HostGoneError if the lab ends; what was wrong with their answers */
  async serves(answers: number, numberedFrom: number): Promise<readonly string[]> {
    const options = { address: guestNetwork.address, port: servicePort, clients: 1, thinkMs: 100, numberedFrom };
    let enough: () => void = () => {};
    const answered = new Promise<void>((resolve) => {
      enough = resolve;
    });
    const clients = new LabClients(this.lab.outside, options, ({ summary }) => {
      if (summary.answers >= answers) enough();
    });
    const late = sleep(patienceMs, 'late', { ref: false });
    if ((await Promise.race([answered, late])) === 'late') throw new HostGoneError('nobody answers the clients');
    const { violations } = await clients.stop();
    return violations;
  }
}

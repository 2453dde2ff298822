import { spawn } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { LabError } from './errors.ts';
import { type Machine, Tail } from './machine.ts';

const stderrKept = 4 * 1024;
/** Descriptors of its first process: the channel is 3, its disks follow. */
const firstDiskFd = 4;

/**
 * Process 1 of a native host. The host tree with a RAM file system over it becomes the root; devices are the machine's,
 * processes, mounts, network and name are its own. The mounts lie on folders of the cache, seen in here only.
 */
const initScript = `set -e
echo 'lab: namespaces are there'
tree=$1; name=$2; disks=$3
mount --make-rprivate /
mount -t tmpfs tmpfs "$tree/over"
mkdir "$tree/over/upper" "$tree/over/work"
mount -t overlay -o "lowerdir=$tree/root,upperdir=$tree/over/upper,workdir=$tree/over/work" overlay "$tree/merged"
cd "$tree/merged"
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir run/lab
cat > run/lab/agent.mjs
i=0
while [ $i -lt "$disks" ]; do
  ln -s /proc/1/fd/$((${firstDiskFd} + i)) run/lab/disk$i
  i=$((i + 1))
done
hostname "$name"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux chroot . /bin/sh -c '
  ip link set lo up
  node /run/lab/agent.mjs fd:3 < /dev/null &
  wait $!
'
`;

/** Where a native host finds the disk with this index. */
export function nativeDiskPath(index: number): string {
  return `/run/lab/disk${index}`;
}

export interface NativeMachine extends Machine {
  /** A process in its network namespace; resolves once that is made. */
  readonly namespacePid: Promise<number>;
}

/** Starts namespaces on this machine that behave as a host. `agent` is the agent's program text. */
export function startNativeMachine(options: {
  tree: string;
  name: string;
  agent: string;
  disks: readonly number[];
}): NativeMachine {
  const namespaces = ['--mount', '--net', '--pid', '--ipc', '--uts', '--fork', '--kill-child=KILL'];
  const init = ['sh', '-c', initScript, 'sh', options.tree, options.name, String(options.disks.length)];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...namespaces, ...init], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', ...options.disks],
    detached: true,
  });
  const said = new Tail(stderrKept);
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => said.add(text));
  }
  child.stdin?.on('error', () => {});
  child.stdin?.end(options.agent);
  const channel = child.stdio[3] as unknown as Duplex;
  channel.on('error', () => {});
  // Its end of the channel closes with the last of its processes.
  const emptied = new Promise<void>((resolve) => channel.once('close', () => resolve()));
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(`setpriv could not be started: ${error.message}`));
    child.on('exit', (status, signal) => {
      resolve(`its namespaces ended (${signal ?? `exit status ${status}`}): ${said.text.trim()}`);
    });
  });
  const pid = child.pid ?? -1;
  const namespacePid = new Promise<number>((resolve, reject) => {
    child.stdout?.once('data', () => resolve(pid));
    void ended.then((how) => reject(new LabError(how)));
  });
  namespacePid.catch(() => {});
  return {
    namespacePid,
    channel,
    losesInterrupts: false,
    ended,
    consoleTail: () => said.text,
    hang: async () => signalAll(pid, 'SIGSTOP'),
    unhang: async () => signalAll(pid, 'SIGCONT'),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
      channel.resume();
      await emptied;
    },
  };
}

/** Signals every process of the PID namespace whose first process is a child of `unsharePid`, until none is new. */
function signalAll(unsharePid: number, signal: NodeJS.Signals): void {
  const namespace = readlinkSync(`/proc/${unsharePid}/ns/pid_for_children`);
  const done = new Set<number>();
  for (;;) {
    const found = processesIn(namespace).filter((pid) => !done.has(pid));
    if (found.length === 0) return;
    for (const pid of found) {
      done.add(pid);
      try {
        process.kill(pid, signal);
      } catch {
        // It ended while we looked.
      }
    }
  }
}

function processesIn(namespace: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readlinkSync(join('/proc', name, 'ns/pid')) === namespace;
      } catch {
        return false;
      }
    })
    .map(Number);
}

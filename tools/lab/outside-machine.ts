import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { PackageSet } from '../packages/package-set.ts';
import { commandFromSet } from '../packages/run-from-set.ts';
import { bundle } from './bundle.ts';
import type { EmulatedNetwork } from './emulated-network.ts';
import { LabError } from './errors.ts';
import type { HostTree } from './host-tree.ts';
import { type Machine, Tail } from './machine.ts';
import { startNativeMachine } from './native-machine.ts';
import { executeInNetworkOf } from './native-network.ts';
import { hostAddress, hostMac } from './network.ts';

const socketFd = 3;

/**
 * A native machine on the network of emulated ones. Its card is a TAP; what carries frames between that and the switch
 * is the emulator of the hosts, as an emulator of nothing: it has both ends already.
 */
export async function startOutsideMachine(options: {
  tree: HostTree;
  qemu: PackageSet;
  name: string;
  index: number;
  network: EmulatedNetwork;
}): Promise<Machine> {
  const { tree, qemu, name, index, network } = options;
  if (process.getuid?.() !== 0) {
    throw new LabError('the machine outside the hosts is a namespace, which needs root here: run as root');
  }
  const machine = startNativeMachine({ tree: tree.folder, name, agent: bundle('agent.ts'), disks: [] });
  const pid = await machine.namespacePid;
  const ip = (...args: string[]) => executeInNetworkOf(pid, tree.root, 'ip', ...args);
  try {
    await ip('tuntap', 'add', 'dev', 'eth0', 'mode', 'tap');
    await ip('link', 'set', 'eth0', 'address', hostMac(index));
    await ip('address', 'add', `${hostAddress(index)}/24`, 'dev', 'eth0');
    await ip('link', 'set', 'eth0', 'up');
    const carrier = startCarrier(pid, qemu);
    await network.attach(index, carrier.socket);
    return {
      ...machine,
      ended: Promise.race([machine.ended, carrier.ended]),
      kill: async () => {
        await carrier.end();
        await machine.kill();
      },
    };
  } catch (error) {
    await machine.kill();
    throw error;
  }
}

function startCarrier(pid: number, qemu: PackageSet): { socket: Socket; ended: Promise<string>; end(): Promise<void> } {
  const { program, args } = commandFromSet(qemu.root, 'usr/bin/qemu-system-x86_64');
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'nsenter', `--net=/proc/${pid}/ns/net`, program, ...args],
      ...['-L', join(qemu.root, 'usr/share/qemu'), '-machine', 'none', '-nodefaults', '-no-user-config'],
      ...['-display', 'none', '-monitor', 'none', '-serial', 'none'],
      ...['-netdev', 'tap,id=card,ifname=eth0,script=no,downscript=no,vnet_hdr=off'],
      ...['-netdev', `stream,id=lan,addr.type=fd,addr.str=${socketFd}`],
      ...['-netdev', 'hubport,id=one,hubid=0,netdev=card', '-netdev', 'hubport,id=other,hubid=0,netdev=lan'],
    ],
    { stdio: ['ignore', 'ignore', 'pipe', 'pipe'], detached: true },
  );
  const said = new Tail(1024);
  child.stderr?.setEncoding('utf8').on('data', (text: string) => said.add(text));
  const socket = child.stdio[socketFd] as unknown as Socket;
  socket.on('error', () => {});
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(`setpriv could not be started: ${error.message}`));
    child.on('exit', (status, signal) =>
      resolve(`its card ended (${signal ?? `exit status ${status}`}): ${said.text}`),
    );
  });
  return {
    socket,
    ended,
    end: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

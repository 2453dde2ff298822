import { join } from 'node:path';
import { imageSuites } from '../../tools/images/kernel.ts';
import { dynamicLinker, libraryFolder, programFiles } from '../../tools/images/program-files.ts';
import type { Host } from '../../tools/lab/host.ts';
import { fetchPackages } from '../../tools/packages/package-set.ts';
import { silent } from '../../tools/packages/progress.ts';
import { patienceMs } from './lab-guest.ts';

/** Programs of Debian's that a kernel needs beside it to serve NFS, with libraries of their own. */
const root = '/opt/nfs';
const serverPackage = 'nfs-kernel-server';
const programs = ['sbin/rpcbind', 'usr/sbin/rpc.mountd', 'usr/sbin/exportfs'];
/** Where they look up what numbers belong to names. */
const tables = ['etc/netconfig', 'etc/protocols', 'etc/rpc', 'etc/services'];
const called = (path: string): string =>
  `${root}/${dynamicLinker} --library-path ${root}/${libraryFolder} ${root}/${path}`;

/** What it serves: a folder of its first disk. */
const servedFolder = '/srv/terms';
const mountdPort = 20_048;
/** How long a server that begins waits for what clients had of an earlier one, in s: the shortest that it takes. */
const graceS = 10;

/** Runs a command that is to succeed, and gives what it said. */
export async function done(host: Host, command: string): Promise<string> {
  const { status, stdout, stderr } = await host.run(command, { timeoutMs: patienceMs });
  if (status !== 0) throw new Error(`"${command}" on ${host.name}: ${stdout}${stderr}`);
  return stdout;
}

/** Has a host's kernel serve `servedFolder` of its first disk, which is empty, by NFS 3 and 4. */
export async function serveNfs(host: Host): Promise<void> {
  const files = (await Promise.all(programs.map((path) => programFiles({ package: serverPackage, path })))).flat();
  const places = new Map(files.map((file) => [file.path, file]));
  for (const { source, path, mode } of places.values()) await host.push(source, `${root}/${path}`, mode);
  const { root: packages } = await fetchPackages({ names: [serverPackage], suites: imageSuites, progress: silent });
  for (const path of tables) await host.push(join(packages, path), `/${path}`);
  const [disk] = host.disks;
  await done(
    host,
    `set -e
    mkdir -p /run/rpcbind /var/lib/nfs/v4recovery
    ln -s /run /var/run
    touch /etc/exports /var/lib/nfs/etab /var/lib/nfs/rmtab
    echo '_rpc:x:101:65534::/run/rpcbind:/bin/false' >> /etc/passwd
    mkdir -p ${servedFolder}
    mkfs.ext4 -q ${disk} && mount -t ext4 ${disk} ${servedFolder}
    modprobe nfsd
    mount -t nfsd nfsd /proc/fs/nfsd
    echo ${graceS} > /proc/fs/nfsd/nfsv4leasetime
    echo ${graceS} > /proc/fs/nfsd/nfsv4gracetime
    ${called('sbin/rpcbind')}
    ${called('usr/sbin/rpc.mountd')} --port ${mountdPort}
    ${called('usr/sbin/exportfs')} -o rw,sync,no_root_squash,no_subtree_check,fsid=0 '10.77.0.0/24:${servedFolder}'
    echo 4 > /proc/fs/nfsd/threads`,
  );
}

/** Mounts what `server` serves, with `options` beside what says where it is. */
export async function mountNfs(host: Host, server: Host, at: string, version: string, options = ''): Promise<void> {
  const { address = '' } = server;
  const isV3 = version === '3';
  const where = isV3
    ? `proto=tcp,nolock,mountaddr=${address},mountport=${mountdPort},mountproto=tcp,port=2049`
    : `clientaddr=${host.address}`;
  await done(
    host,
    `mkdir -p ${at} && mount -i -t ${isV3 ? 'nfs' : 'nfs4'} -o vers=${version},addr=${address},${where},${options || 'hard'} ` +
      `${address}:${isV3 ? servedFolder : '/'} ${at}`,
  );
}

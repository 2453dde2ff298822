import { guestNetwork } from '../../demo/guest.ts';
import { xsaveFamily } from '../../guest-flags.ts';
import type { LabMode } from '../../lab/mode.ts';

/**
 * QEMU 7.2 in COLO: its command lines, and the order of its commands, as its documentation (docs/COLO-FT.txt,
 * docs/block-replication.txt) has them. It takes `-machine pc`: with microvm it never begins.
 */
export interface QemuPairPlaces {
  readonly mode: LabMode;
  readonly memoryMib: number;
  readonly kernel: string;
  readonly initrd: string;
  readonly serial: string;
  /** Folder with the images. */
  readonly images: string;
  /** Of the two hosts. */
  readonly primary: string;
  readonly secondary: string;
}

export const ports = { qmp: 4444, qmpBeside: 4445, nbd: 9999, migration: 9998, mirror: 9003, compare: 9004 } as const;
/** All of one size, made by `qemu-img create -f qcow2`. */
export const imageNames = ['primary', 'secondary', 'active', 'hidden'] as const;

function machine(places: QemuPairPlaces): string[] {
  const hidden = places.mode === 'emulated' ? xsaveFamily.filter((name) => name !== 'osxsave') : [];
  return [
    ...['qemu-system-x86_64', '-machine', 'pc,accel=kvm', '-nodefaults', '-no-user-config', '-display', 'none'],
    ...['-cpu', ['host', ...hidden.map((name) => `-${name}`)].join(','), '-smp', '1', '-m', String(places.memoryMib)],
    ...['-kernel', places.kernel, '-initrd', places.initrd],
    // Nobody asks by IPv6, and what two guests say in it by themselves differs. Services listen on `::` all the same.
    ...['-append', 'console=ttyS0 quiet panic=-1 ipv6.disable_ipv6=1', '-serial', `file:${places.serial}`],
    ...[ports.qmp, ports.qmpBeside].flatMap((port) => ['-qmp', `tcp:0.0.0.0:${port},server=on,wait=off`]),
    ...['-netdev', 'tap,id=hn0,ifname=tap0,script=no,downscript=no,vhost=off'],
    ...['-device', `virtio-net-pci,id=e0,netdev=hn0,mac=${guestNetwork.mac},romfile=`],
  ];
}

const disk = ['-device', 'virtio-blk-pci,id=vb0,drive=colo-disk0'];
const quorum = 'if=none,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1';

export function primaryCommand(places: QemuPairPlaces): string[] {
  const socket = (id: string, where: string): string[] => ['-chardev', `socket,id=${id},${where}`];
  const listen = (host: string, port: number): string => `host=${host},port=${port},server=on,wait=off`;
  return [
    ...machine(places),
    ...socket('mirror0', listen(places.primary, ports.mirror)),
    ...socket('compare1', listen(places.primary, ports.compare)),
    ...socket('compare0', listen('127.0.0.1', 9001)),
    ...socket('compare0-0', 'host=127.0.0.1,port=9001'),
    ...socket('compare_out', listen('127.0.0.1', 9005)),
    ...socket('compare_out0', 'host=127.0.0.1,port=9005'),
    ...['-drive', `${quorum},children.0.file.filename=${places.images}/primary,children.0.driver=qcow2`, ...disk],
  ];
}

export function secondaryCommand(places: QemuPairPlaces): string[] {
  const { images, primary } = places;
  return [
    ...machine(places),
    ...['-chardev', `socket,id=red0,host=${primary},port=${ports.mirror},reconnect=1`],
    ...['-chardev', `socket,id=red1,host=${primary},port=${ports.compare},reconnect=1`],
    ...['-object', 'filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0,vnet_hdr_support=on'],
    ...['-object', 'filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1,vnet_hdr_support=on'],
    ...['-object', 'filter-rewriter,id=rew0,netdev=hn0,queue=all,vnet_hdr_support=on'],
    ...['-drive', `if=none,id=parent0,file.filename=${images}/secondary,driver=qcow2`],
    ...[
      '-drive',
      'if=none,id=childs0,driver=replication,mode=secondary,top-id=colo-disk0,file.driver=qcow2,' +
        `file.file.filename=${images}/active,file.backing.driver=qcow2,` +
        `file.backing.file.filename=${images}/hidden,file.backing.backing=parent0`,
    ],
    ...['-drive', `${quorum},children.0=childs0`, ...disk],
    ...['-incoming', `tcp:0.0.0.0:${ports.migration}`],
  ];
}

/** A command of QMP and what it is given. */
export type Order = readonly [command: string, given?: object];

const hmp = (line: string): Order => ['human-monitor-command', { 'command-line': line }];
const addObject = (type: string, id: string, given: object): Order => [
  'object-add',
  { 'qom-type': type, id, ...given },
];
const filter = { netdev: 'hn0', vnet_hdr_support: true };

/** What the secondary is told first. */
export const serveDisk = ({ secondary }: QemuPairPlaces): readonly Order[] => [
  ['nbd-server-start', { addr: { type: 'inet', data: { host: secondary, port: String(ports.nbd) } } }],
  ['nbd-server-add', { device: 'parent0', writable: true }],
];

/** The primary's disk, copied while the guest runs. */
export const mirrorDisk = ({ secondary }: QemuPairPlaces): Order => [
  'drive-mirror',
  {
    ...{ device: 'colo-disk0', 'job-id': 'resync', target: `nbd://${secondary}:${ports.nbd}/parent0` },
    ...{ mode: 'existing', format: 'raw', sync: 'full' },
  },
];

/** With the guest stopped and the copy ended. */
export const beginColo = ({ secondary }: QemuPairPlaces, delayMs: number): readonly Order[] => [
  hmp(
    `drive_add -n buddy driver=replication,mode=primary,file.driver=nbd,file.host=${secondary},` +
      `file.port=${ports.nbd},file.export=parent0,node-name=replication0`,
  ),
  ['x-blockdev-change', { parent: 'colo-disk0', node: 'replication0' }],
  addObject('filter-mirror', 'm0', { ...filter, queue: 'tx', outdev: 'mirror0' }),
  addObject('filter-redirector', 'redire0', { ...filter, queue: 'rx', indev: 'compare_out' }),
  addObject('filter-redirector', 'redire1', { ...filter, queue: 'rx', outdev: 'compare0' }),
  addObject('iothread', 'iothread1', {}),
  addObject('colo-compare', 'comp0', {
    ...{ primary_in: 'compare0-0', secondary_in: 'compare1', outdev: 'compare_out0', iothread: 'iothread1' },
    vnet_hdr_support: true,
  }),
  ['migrate-set-capabilities', { capabilities: [{ capability: 'x-colo', state: true }] }],
  ['migrate-set-parameters', { 'x-checkpoint-delay': delayMs, 'max-bandwidth': 2 ** 30, 'downtime-limit': 2000 }],
  ['migrate', { uri: `tcp:${secondary}:${ports.migration}` }],
];

/** What a secondary is told whose primary is lost. It has no detection of its own. */
export const takeOver: readonly Order[] = [
  ['nbd-server-stop'],
  ['x-colo-lost-heartbeat'],
  ['object-del', { id: 'f2' }],
  ['object-del', { id: 'f1' }],
  // Where switches learn, clients would not find it otherwise.
  ['announce-self', { initial: 50, max: 550, rounds: 5, step: 100 }],
];

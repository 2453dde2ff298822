import type { StandbyKey } from '../colo/command/standby-config.ts';
import type { ConfigKey } from '../vmm/config/config.ts';

const rebootHelp =
  'reset or exit: whether a reset by the guest or by colo-vmm reset starts the guest again in the same process, or ends the machine (default reset)';
const onPanicHelp =
  'exit, pause or run: what to do when the kernel of the guest says that it panicked (default exit, with exit code 4; with --standby run: what panic= says; a standby does the same)';

/** A flag: its name, its argument if it takes one, and what it means. */
export type Flag<Key extends string = string> = readonly [key: Key, argument: string, help: string];

const serialFlag = ['serial', '<target>', 'stdio[,eof=stop|ignore], file=PATH or none (default stdio)'] as const;
const standbySerialFlag = [
  'serial',
  '<target>',
  'stdio[,eof=stop|ignore], file=PATH or none (default stdio,eof=ignore)',
] as const;
const controlFlag = [
  'control',
  '<path>',
  'path of the control socket (QMP), in place of the one for its name',
] as const;

const onEventFlag = [
  'on-event',
  '<command>',
  'shell command that is given each event of the pair as JSON on standard input: failover, unprotected, disk-error, ...',
] as const;

const metricsFlag = [
  'metrics',
  '<host:port>',
  'serve figures for Prometheus there, at /metrics; a port alone is one of 127.0.0.1',
] as const;

const dashboardFlag = [
  'dashboard',
  '<host:port>',
  'serve a page with live charts there, on which nothing can be changed; a port alone is one of 127.0.0.1',
] as const;

/** How a host knows its peer, and whom it asks. */
const pairFlags = [
  [
    'arbiter',
    '<who>',
    'who says which host goes on when they lose each other: etcd:URL[,URL...], file:FOLDER that both hosts mount, or manual: an operator, by colo-vmm failover',
  ],
  ['tls', '<dir=folder>', "this host's keys, made by colo-vmm keys"],
  ['insecure', '', 'no keys: nothing is encrypted, and whoever reaches the port is believed'],
  [
    'state',
    '<folder>',
    'what must outlive this process (default /var/lib/colo-vmm/NAME for root, else ~/.local/state/colo-vmm/NAME)',
  ],
  ['detection', '<ms>', 'a peer that is silent for so long is lost, 40 to 60000; the same on both hosts (default 200)'],
] as const satisfies readonly Flag[];

/** Of a primary. */
const listenFlag = [
  'listen',
  '<address:port>',
  'whenever there is no standby, also take one that comes there: colo-vmm standby --peer (default: only the one at --standby)',
] as const;

const checkpointDelayFlag = [
  'checkpoint-delay',
  '<ms>',
  'a checkpoint at least this often; guests that differ, or output in buffered mode, ask for more (default 20000)',
] as const;

const modeFlag = [
  'mode',
  '<how>',
  'comparing: the standby runs the guest too, and what both say leaves at once; buffered: output is held until a checkpoint covers it (default comparing)',
] as const;

export const flowFlag = [
  'flow',
  '<keys>',
  'not with --mode buffered: port=NUMBER,policy=compare|buffer|pass: connections of that port; pass lets output out unseen, which is UNSAFE; may be repeated',
] as const;

const pcapFlag = [
  'pcap',
  '<file>',
  'record what is mirrored, held, released and dropped of the packets, and why, as pcapng for tshark; it grows without bound',
] as const;

export const runFlags: readonly Flag<ConfigKey>[] = [
  ['kernel', '<file>', 'bzImage, or ELF vmlinux with a PVH entry'],
  ['initrd', '<file>', 'initial RAM disk'],
  ['cmdline', '<text>', 'kernel command line, in place of the default "console=ttyS0 panic=-1 ..."'],
  ['cpus', '<n>', 'virtual CPUs, 1 to 8 (default 1)'],
  [
    'memory',
    '<size>',
    'guest RAM, such as 256M or 2G (default 256M); ,shared=on backs it by a memfd that other programs can map',
  ],
  [
    'rng',
    '<source>',
    'virtio entropy device: host (of a protected guest its copy draws the same), seed=NUMBER (the same bytes at every start, no good for keys) or none (default none)',
  ],
  serialFlag,
  [
    'kaslr',
    '<on|off>',
    'load the kernel at a random virtual address (default off: the same address at every start; a kernel that unpacks itself is told nokaslr)',
  ],
  ['cpu-mask', '<names>', 'CPU features to hide from the guest, such as xsave,avx,avx2'],
  ['reboot', '<action>', rebootHelp],
  ['on-panic', '<action>', onPanicHelp],
  ['name', '<name>', 'name of the machine, of its control socket (default: the process id), and of its pair'],
  controlFlag,
  [
    'standby',
    '<host:port>',
    'protect the guest by the colo-vmm standby that waits there; RDRAND and RDSEED are hidden from it',
  ],
  listenFlag,
  ...pairFlags,
  checkpointDelayFlag,
  modeFlag,
  pcapFlag,
  onEventFlag,
  metricsFlag,
  dashboardFlag,
];

/** Flags that may be given several times. */
export const deviceFlags = [
  [
    'disk',
    '<keys>',
    'virtio disk: path=FILE[,id=NAME][,readonly=on][,direct=on][,overlay=FILE][,werror=enospc|report|stop][,sector=512|4096][,format=raw]; may be repeated',
  ],
  [
    'net',
    '<keys>',
    'virtio network card: tap=NAME[,mac=ADDRESS][,mtu=BYTES][,offload=off][,bridge=NAME]; may be repeated',
  ],
] as const satisfies readonly Flag<ConfigKey>[];

export const restoreFlags = [
  [
    'clock',
    '<mode>',
    'keep (default): the guest clock continues from the snapshot; jump: it is set to the current time',
  ],
  serialFlag,
  ['reboot', '<action>', rebootHelp],
  ['on-panic', '<action>', onPanicHelp],
  ['name', '<name>', 'name of the machine, and of its control socket (default: the process id)'],
  controlFlag,
  onEventFlag,
  metricsFlag,
  dashboardFlag,
] as const;

export const restoredDeviceFlags = [
  [
    'disk',
    '<keys>',
    'replace keys of a disk in the snapshot, such as id=NAME,path=FILE (without id: the next disk); may be repeated',
  ],
  ['net', '<keys>', 'replace keys of a network card in the snapshot, in order, such as tap=NAME; may be repeated'],
] as const;

/** Of `standby`: what the machine's owner decides on that host. */
export const standbyFlags: readonly Flag<StandbyKey>[] = [
  ['name', '<name>', 'name of the pair, of the machine and of its control socket'],
  ['listen', '<address:port>', 'where it waits for the primary, such as 0.0.0.0:7000'],
  [
    'peer',
    '<host:port>',
    'where the guest of this pair may run: if it does so alone, this host protects it; several are separated by commas',
  ],
  ...pairFlags,
  checkpointDelayFlag,
  pcapFlag,
  onEventFlag,
  metricsFlag,
  dashboardFlag,
  standbySerialFlag,
  controlFlag,
];

/** Of `protect`. */
export const protectFlags: readonly Flag[] = [
  ['standby', '<host:port>', 'the colo-vmm standby that waits there'],
  listenFlag,
  ['name', '<name>', "name of the pair (default: the machine's)"],
  ...pairFlags,
  checkpointDelayFlag,
  modeFlag,
];

/** Of all commands that talk to a running machine. */
export const machineFlags = [
  ['--vm <name>', 'name of the machine, or its process id; not needed while only one runs'],
  ['--control <path>', 'path of its control socket, in place of a name'],
  ['--json', 'print JSON'],
] as const;

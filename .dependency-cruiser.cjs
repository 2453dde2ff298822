// Imports point one way: host <- memory <- devices, block, firmware <- vmm <- colo <- cli.
const allowed = {
  '^src/host/': '^src/host/',
  '^src/memory/': '^src/(host|memory)/',
  '^src/devices/': '^src/(host|memory|devices|block)/',
  '^src/block/': '^src/(host|memory|block)/',
  '^firmware/': '^(src/(host|memory)|firmware)/',
  '^src/vmm/': '^(src/(host|memory|devices|block|vmm)|firmware)/',
  '^src/colo/': '^(src/(host|memory|devices|block|vmm|colo)|firmware)/',
};

// Within src/host, each room uses its own files, those that lie beside the rooms, and these rooms.
const roomsOfHost = {
  libc: [],
  mappings: ['libc'],
  files: ['libc', 'mappings'],
  events: ['libc', 'mappings'],
  net: ['libc', 'events'],
  threads: ['libc'],
  console: ['libc'],
  system: ['libc'],
  kvm: ['libc', 'mappings', 'events'],
};
const besideRoomsOfHost = '(errno|layout|ownership|system-error)[.]ts$';

// Within src/vmm, each room may use those before it.
const rooms = [
  'config',
  'thread',
  'platform',
  'vcpu',
  'io',
  'vmstate',
  'checkpoint',
  'machine',
  'snapshot',
  'monitor',
  'client',
];
const usedBy = (room) => rooms.slice(0, rooms.indexOf(room) + 1);
const allowedRooms = {
  ...Object.fromEntries(rooms.map((room) => [room, usedBy(room)])),
  // A vCPU thread and the io thread know each other only by what both share.
  io: ['config', 'thread', 'platform', 'io'],
  console: ['console'],
  command: [...rooms, 'console', 'command'],
};

// Within src/colo, what decides knows nothing of what does: it is what the simulation runs.
const roomsOfColo = {
  protocol: ['protocol'],
  core: ['protocol', 'core'],
  packet: ['packet'],
  compare: ['packet', 'compare'],
  translate: ['packet', 'translate'],
};

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...Object.entries(allowed).map(([from, to]) => ({
      name: `one-way:${from.replace(/[^a-z/]/g, '')}`,
      severity: 'error',
      from: { path: from },
      to: { path: '^(src|firmware|tools|test)/', pathNot: to },
    })),
    ...Object.entries(roomsOfHost).map(([from, to]) => ({
      name: `rooms-of-host:${from}`,
      severity: 'error',
      from: { path: `^src/host/${from}/` },
      to: { path: '^src/host/', pathNot: `^src/host/((${[from, ...to].join('|')})/|${besideRoomsOfHost})` },
    })),
    {
      name: 'rooms-of-host:none',
      severity: 'error',
      from: { path: `^src/host/${besideRoomsOfHost}` },
      to: { path: '^src/host/', pathNot: `^src/host/${besideRoomsOfHost}` },
    },
    {
      name: 'no-file-outside-the-rooms-of-host',
      severity: 'error',
      from: {},
      to: {
        path: '^src/host/',
        pathNot: `^src/host/((${Object.keys(roomsOfHost).join('|')})/|${besideRoomsOfHost})`,
      },
    },
    ...Object.entries(allowedRooms).map(([from, to]) => ({
      name: `rooms-of-vmm:${from}`,
      severity: 'error',
      from: { path: `^src/vmm/${from}/` },
      to: { path: '^src/vmm/', pathNot: `^src/vmm/(${to.join('|')})/` },
    })),
    ...Object.entries(roomsOfColo).map(([from, to]) => ({
      name: `rooms-of-colo:${from}`,
      severity: 'error',
      from: { path: `^src/colo/${from}/` },
      to: { path: '^(src|firmware)/', pathNot: `^src/colo/(${to.join('|')})/` },
    })),
    {
      name: 'cores-do-no-input-or-output',
      severity: 'error',
      from: { path: `^src/colo/(${Object.keys(roomsOfColo).join('|')})/` },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'no-file-outside-the-rooms-of-vmm',
      severity: 'error',
      from: {},
      to: { path: '^src/vmm/', pathNot: `^src/vmm/(${Object.keys(allowedRooms).join('|')})/` },
    },
    {
      name: 'only-host-knows-koffi',
      severity: 'error',
      from: { pathNot: '^src/host/' },
      to: { path: 'koffi' },
    },
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    {
      name: 'sources-know-no-tests',
      severity: 'error',
      from: { path: '^(src|firmware)/' },
      to: { path: '^(test|tools)/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { conditionNames: ['import', 'node'], extensions: ['.ts', '.mjs', '.js'] },
  },
};

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

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...Object.entries(allowed).map(([from, to]) => ({
      name: `one-way:${from.replace(/[^a-z/]/g, '')}`,
      severity: 'error',
      from: { path: from },
      to: { path: '^(src|firmware|tools|test)/', pathNot: to },
    })),
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

import type { EquivalentMutants } from './equivalent-mutant.ts';

const noBytes = 'no bytes are copied, and mark nothing';

export const equivalentInVirtio: EquivalentMutants = {
  'src/devices/virtio/descriptor-chain.ts': [
    {
      original: 'copied < target.length',
      replacements: ['true', 'copied <= target.length'],
      why: noBytes,
    },
    {
      original: 'copied < source.length',
      replacements: ['true', 'copied <= source.length'],
      why: noBytes,
    },
    { original: 'skip >= length', replacements: ['skip > length'], places: 2, why: noBytes },
    {
      original: '!memory.tracking',
      replacements: ['false'],
      why: 'memory that is not tracked keeps no mark; this only saves the walk',
    },
    {
      original: 'left > 0',
      line: 'this.readable; index < this.count',
      replacements: ['true', 'left >= 0'],
      why: noBytes,
    },
  ],
};

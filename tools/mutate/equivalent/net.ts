import type { EquivalentMutants } from './equivalent-mutant.ts';

const nothing = 'no bytes are no range, and mark nothing';
const sameBytes = 'both ways write the same bytes; the other one is only faster';

export const equivalentInNet: EquivalentMutants = {
  'src/devices/net/packet-tap.ts': [
    {
      original: 'this.count === this.#addresses.length',
      replacements: ['true', 'this.count !== this.#addresses.length'],
      why: 'room is made before it is needed',
    },
    {
      original: 'copied < target.length',
      replacements: ['true', 'copied <= target.length'],
      why: 'no bytes are copied where no room is left',
    },
  ],
  'src/devices/net/receive-queue.ts': [
    {
      original: 'this.#waitingFrom > 0',
      replacements: ['true', 'this.#waitingFrom >= 0'],
      why: nothing,
    },
    {
      original: 'this.#kicksWanted',
      line: 'if (this.#kicksWanted) {',
      replacements: ['true'],
      why: 'kicks that are not wanted are declined once more',
    },
  ],
  'src/devices/net/ready-chains.ts': [
    {
      original: 'vector.count + entries >= maxIoVectorEntries',
      line: 'this.#compact()',
      replacements: ['true'],
      why: 'entries that are moved without need are the same',
    },
    {
      original: 'this.#count === 0',
      line: 'if (this.#count === 0) {',
      replacements: ['false'],
      why: 'used entries are also dropped once the vector is full',
    },
    {
      original: '{ this.#vector.clear(); this.#usedEntries = 0; }',
      line: 'if (this.#count === 0) {',
      replacements: ['{}'],
      why: 'used entries are also dropped once the vector is full',
    },
    {
      original: 'left > 0',
      line: 'for (',
      replacements: ['true', 'left >= 0'],
      why: nothing,
    },
    { original: 'start < to', replacements: ['start <= to'], why: nothing },
    { original: 'end > from', replacements: ['true', 'end >= from'], why: nothing },
    {
      original: 'chain.count > chain.readable && chain.lengthOf(chain.readable) >= headerBytes',
      replacements: ['false'],
      why: sameBytes,
    },
    {
      original: 'chain.lengthOf(chain.readable) >= headerBytes',
      replacements: ['chain.lengthOf(chain.readable) > headerBytes'],
      why: sameBytes,
    },
    {
      original: '{ this.#memory.writeU16(gpa(chain.addressOf(chain.readable) + bufferCountOffset), buffers); return; }',
      replacements: ['{}'],
      why: sameBytes,
    },
  ],
};

import type { EquivalentMutants } from './equivalent-mutant.ts';

const fasterOnly = 'both ways write the same bytes; the other one is only faster';
const hintOnly = 'the kernel ignores a hint about addresses that it does not have';
const bothOrNeither = 'both are there, or neither';

export const equivalentInMemory: EquivalentMutants = {
  'src/memory/guest-memory.ts': [
    { original: 'bytes.length >= longCopy && this.#isMapped', replacements: ['false'], why: fasterOnly },
    {
      original: 'bytes.length >= longCopy',
      replacements: ['true', 'bytes.length > longCopy', 'bytes.length < longCopy'],
      why: fasterOnly,
    },
    { original: 'length >= longCopy && this.#isMapped', replacements: ['false'], places: 2, why: fasterOnly },
    {
      original: 'length >= longCopy',
      replacements: ['true', 'length > longCopy', 'length < longCopy'],
      places: 2,
      why: fasterOnly,
    },
    {
      original: 'this.#isMapped && end > start',
      replacements: ['true', 'this.#isMapped || end > start'],
      why: hintOnly,
    },
    { original: 'end > start', replacements: ['true', 'end >= start'], why: hintOnly },
    {
      original: 'this.regions[0]?.address',
      replacements: ['this.regions[0].address'],
      why: 'without a region no access comes so far',
    },
  ],
  'src/memory/page-copy.ts': [
    {
      original: 'look < looks',
      replacements: ['false', 'look <= looks', 'look >= looks'],
      why: 'who has not looked long enough waits: it only takes longer',
    },
    {
      original: 'place + pages < count && numbers[place + pages] === first + pages',
      replacements: ['false'],
      why: fasterOnly,
    },
    {
      original: 'first + pages',
      line: 'while (place + pages',
      replacements: ['first - pages'],
      why: 'no number is smaller than the one before: all pages are copied one by one',
    },
    {
      original: 'done !== parts',
      replacements: ['true'],
      why: 'where all is done by now nobody waits for another number, and the wait ends in time',
    },
  ],
  'src/memory/ram.ts': [
    {
      original: "'private'",
      replacements: ['""'],
      places: 3,
      why: 'a file that is not mapped shared is mapped private, and RAM that is not shared is private',
    },
  ],
  'src/memory/dirty-collector.ts': [
    {
      original: '[]',
      line: '#logs',
      replacements: ['["Stryker was here"]'],
      places: 2,
      why: 'nobody collects while there is no tracker',
    },
    {
      original: 'other !== tracker',
      replacements: ['true'],
      why: 'what a tracker puts down for itself it takes in the same call',
    },
    { original: 'false', line: '#hasPending = false', replacements: ['true'], places: 2, why: 'nothing is taken' },
    { original: 'this.#hasPending', replacements: ['true'], why: 'nothing is taken' },
    {
      original: 'this.#pending[region]?.drainInto',
      replacements: ['this.#pending[region].drainInto'],
      why: 'there is one for each region',
    },
  ],
  'src/memory/page-codec.ts': [
    {
      original: 'this.#kinds.length < numbers.length',
      replacements: ['true', 'this.#kinds.length <= numbers.length'],
      why: 'room is made once more than needed',
    },
    { original: 'reference !== undefined', replacements: ['true'], why: bothOrNeither },
    {
      original: 'index === 0',
      replacements: ['false'],
      why: 'the kind before the first page is undefined, which is no kind',
    },
    {
      original: 'index < numbers.length',
      line: 'while (',
      replacements: ['true', 'index <= numbers.length'],
      why: 'behind the last number is undefined, which no number equals',
    },
    {
      original:
        'index + 1 < numbers.length && kinds[index + 1] === pageKind.raw && placeOf(index + 1) === place + index + 1 - first',
      replacements: ['false'],
      why: 'the same pages are copied one by one',
    },
    {
      original: 'at < offset + pageSize',
      replacements: ['false', 'at <= offset + pageSize', 'at >= offset + pageSize'],
      why: 'the comparison of the whole page, which follows, decides; a step never ends at the next page',
    },
    {
      original: 'offset + pageSize',
      line: 'for (',
      replacements: ['offset - pageSize'],
      why: 'the comparison decides',
    },
    { original: 'bytes[at] !== 0', replacements: ['false'], why: 'the comparison decides' },
  ],
  'src/memory/settling-ram.ts': [
    {
      original: "'settled RAM'",
      replacements: ['""'],
      places: 2,
      why: 'the name is in the error of a call that fails only if the kernel has no memory for a mapping',
    },
  ],
};

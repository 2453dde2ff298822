import type { EquivalentMutants } from './equivalent-mutant.ts';

const digestOnly = 'a digest only spares looking at bytes that differ; it begins with the length';

export const equivalentInCompare: EquivalentMutants = {
  'src/colo/compare/datagrams.ts': [
    {
      original: 'packet.flags >= pieceFlag',
      replacements: ['true', 'packet.flags > pieceFlag'],
      why: 'what is no piece has no number, and its connection has no pieces; a piece has a place, or more follows it',
    },
    {
      original: 'a.sequence !== b.sequence || a.length !== b.length',
      replacements: ['a.sequence !== b.sequence && a.length !== b.length'],
      why: digestOnly,
    },
    { original: 'a.sequence !== b.sequence', replacements: ['false'], why: digestOnly },
    { original: 'a.length !== b.length', replacements: ['false'], why: digestOnly },
    { original: 'length / digestBytes', replacements: ['length * digestBytes'], why: digestOnly },
    { original: 'index < length', replacements: ['false'], why: digestOnly },
  ],
};

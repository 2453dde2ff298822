import type { EquivalentMutants } from './equivalent-mutant.ts';

export const equivalentInMemory: EquivalentMutants = {};

import { equivalentInCompare } from './compare.ts';
import type { EquivalentMutants } from './equivalent-mutant.ts';
import { equivalentInMemory } from './memory.ts';
import { equivalentInNet } from './net.ts';
import { equivalentInVirtio } from './virtio.ts';

/** A run reports what is on the list and is not there, or was noticed by a test after all. */
export const equivalentMutants: EquivalentMutants = {
  ...equivalentInMemory,
  ...equivalentInNet,
  ...equivalentInVirtio,
  ...equivalentInCompare,
};

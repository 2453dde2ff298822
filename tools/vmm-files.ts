import { fileURLToPath } from 'node:url';

const dist = (name: string): string => fileURLToPath(new URL(`../dist/${name}`, import.meta.url));

/** This VMM as a user runs it. `npm ci` and `npm run build` make it. */
export const vmmBundle = dist('colo-vmm.cjs');

/** Where {@link vmmFiles} puts it in a lab host: `node` runs this. */
export const vmmInHost = '/opt/colo-vmm/colo-vmm.cjs';

/** All files of the bundle, for the hosts of a lab. */
export const vmmFiles = [
  'colo-vmm.cjs',
  'main.cjs',
  'main.cache',
  'vcpu.cjs',
  'vcpu.cache',
  'io.cjs',
  'io.cache',
  'colo.cjs',
  'colo.cache',
  'terms.cjs',
  'koffi.node',
].map((name) => ({
  source: dist(name),
  path: `/opt/colo-vmm/${name}`,
}));

import { fileURLToPath } from 'node:url';

/** The bundle that is measured: what a user runs. `npm ci` and `npm run build` make it. */
export const bundlePath = fileURLToPath(new URL('../../dist/colo-vmm.mjs', import.meta.url));

import { readdirSync, readlinkSync } from 'node:fs';

/** Names of what this process has open, but for the cache of whatever runs the tests, which is tidied meanwhile. */
export function openFiles(): string[] {
  return readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return ''; // the descriptor of this very list
      }
    })
    .filter((name) => name !== '' && !/\/tsx-\d+$/.test(name))
    .sort();
}

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadKernel } from '../../../firmware/load-kernel.ts';
import { gpa, MiB } from '../../../src/memory/address.ts';
import { bufferedGuestMemory } from '../../../src/memory/guest-memory.ts';
import { rsdpAddress } from '../../../src/memory/layout.ts';
import { layOutRam } from '../../../src/memory/regions.ts';

const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'colo-vmm');

/** Any kernel of a distribution below the cache. */
function cachedKernel(): string | undefined {
  if (!existsSync(cache)) return undefined;
  const found = readdirSync(cache, { recursive: true, encoding: 'utf8' }).find((path) =>
    /(^|\/)vmlinuz[^/]*$/.test(path),
  );
  return found === undefined ? undefined : join(cache, found);
}

const path = cachedKernel();
const skip = path === undefined ? `no vmlinuz below ${cache}: npm start puts one there` : false;

t.test("a distribution's kernel is unpacked to where it runs", { skip }, async (t) => {
  const kernel = { name: path ?? '', bytes: readFileSync(path ?? '') };
  const load = (kaslr?: (slots: number) => number) => {
    const memory = bufferedGuestMemory(layOutRam(128 * MiB));
    const entry = loadKernel(memory, { kernel, commandLine: 'console=ttyS0', rsdp: rsdpAddress, kaslr });
    return { memory, entry };
  };
  const linked = load();
  t.match(linked.entry, { protocol: 'linux64', unpackedBy: 'host', entry: 0x100_0000 });
  const banner = Buffer.from(linked.memory.slice(gpa(0x100_0000), 48 * MiB)).indexOf('Linux version ');
  t.ok(banner > 0, 'its banner is in memory');

  const moved = load((slots) => Math.min(3, slots - 1));
  t.match(moved.entry, { randomised: true, entry: 0x100_0000 });
  const [before, after] = [linked, moved].map(({ memory }) => Buffer.from(memory.slice(gpa(0x100_0000), 48 * MiB)));
  t.ok(before !== undefined && after !== undefined && Buffer.compare(before, after) !== 0, 'its addresses changed');
});

import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { byRoom, filesOf, tiers } from '../../../../tools/test-runner/tiers.ts';

const root = fileURLToPath(new URL('../../../..', import.meta.url));

for (const tier of tiers) {
  test(`each file of the ${tier.name} tier runs once, and what runs alone or first is there`, async (t) => {
    const files = filesOf(tier, root);
    const { shared, alone } = byRoom(tier, files);
    t.strictSame([...shared, ...alone].sort(), files);
    const names = (paths: readonly string[]): string[] => paths.map((file) => basename(file, '.test.ts'));
    t.strictSame(names(alone).sort(), [...(tier.alone ?? [])].sort());
    t.strictSame(names(shared).slice(0, tier.first?.length ?? 0), tier.first ?? []);
  });
}

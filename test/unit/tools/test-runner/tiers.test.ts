import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { byRoom, filesOf, tiers } from '../../../../tools/test-runner/tiers.ts';

const root = fileURLToPath(new URL('../../../..', import.meta.url));

for (const tier of tiers) {
  test(`each file of the ${tier.name} tier runs once, and what runs alone is there`, async (t) => {
    const files = filesOf(tier, root);
    const { shared, alone } = byRoom(tier, files);
    t.strictSame([...shared, ...alone].sort(), files);
    t.strictSame(alone.map((file) => basename(file, '.test.ts')).sort(), [...(tier.alone ?? [])].sort());
  });
}

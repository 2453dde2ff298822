import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Mutant } from '../../../../tools/mutate/mutation-report.ts';

export const repository = fileURLToPath(new URL('../../../..', import.meta.url));

/** A project within this one, so that it has its packages. */
export function project(t: { teardown(clean: () => void): void }, files: Readonly<Record<string, string>>): string {
  mkdirSync(join(repository, '.tap'), { recursive: true });
  const root = mkdtempSync(join(repository, '.tap/mutated-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [file, text] of Object.entries({ 'package.json': '{ "type": "module" }', ...files })) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return root;
}

/** What became of each mutant, by its line and what it put there. */
export function statuses(mutants: readonly Mutant[]): Record<string, string> {
  return Object.fromEntries(
    mutants.map(({ location, replacement, status }) => [`${location.start.line}: ${replacement}`, status]),
  );
}

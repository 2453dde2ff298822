import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'tap';
import { ownTests, sourceFilesOf } from '../../../../tools/mutate/own-tests.ts';

/** A project of files with these texts. */
function project(t: { teardown(clean: () => void): void }, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'own-tests-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  return root;
}

test('the tests of a file are those of the mirrored folder that load it, its namesake first', async (t) => {
  const root = project(t, {
    'src/net/queue.ts': '',
    'src/net/card.ts': "import { queue } from './queue.ts';",
    'src/net/other.ts': "import type { Queue } from './queue.ts';",
    'test/unit/net/card.test.ts': "import { rig } from './rig.ts';",
    'test/unit/net/rig.ts': "import {\n  card,\n} from '../../../src/net/card.ts';",
    'test/unit/net/queue.test.ts': "import { queue } from '../../../src/net/queue.ts';",
    'test/unit/net/other.test.ts': "import { other } from '../../../src/net/other.ts';",
    'test/unit/net/thread.test.ts': "new Worker(new URL('./thread.ts', import.meta.url));",
    'test/unit/net/thread.ts': "await import('../../../src/net/queue.ts');",
    'test/unit/disk/disk.test.ts': "import { queue } from '../../../src/net/queue.ts';",
  });
  t.strictSame(ownTests('src/net/queue.ts', root), [
    'test/unit/net/queue.test.ts',
    'test/unit/net/card.test.ts',
    'test/unit/net/thread.test.ts',
  ]);
});

test('a file without unit tests of its own has those of the kvm tier, or else whatever unit test loads it', async (t) => {
  const root = project(t, {
    'src/memory/log.ts': '',
    'test/unit/memory/plain.test.ts': "import type { Log } from '../../../src/memory/log.ts';",
    'test/unit/vmm/machine.test.ts': "import { log } from '../../../src/memory/log.ts';",
  });
  t.strictSame(ownTests('src/memory/log.ts', root), ['test/unit/vmm/machine.test.ts']);
  mkdirSync(join(root, 'test/kvm/memory'), { recursive: true });
  writeFileSync(join(root, 'test/kvm/memory/log.test.ts'), "import { log } from '../../../src/memory/log.ts';");
  t.strictSame(ownTests('src/memory/log.ts', root), ['test/kvm/memory/log.test.ts']);
  writeFileSync(join(root, 'test/unit/memory/other.test.ts'), "import { log } from '../../../src/memory/log.ts';");
  t.strictSame(ownTests('src/memory/log.ts', root), ['test/kvm/memory/log.test.ts'], 'whoever else comes by it');
  t.strictSame(ownTests('src/memory/nothing.ts', root), []);
});

test('sources outside of src mirror with their folder', async (t) => {
  const root = project(t, {
    'tools/lab/lab.ts': '',
    'test/unit/tools/lab/lab.test.ts': "import { lab } from '../../../../tools/lab/lab.ts';",
  });
  t.strictSame(ownTests('tools/lab/lab.ts', root), ['test/unit/tools/lab/lab.test.ts']);
});

test('a folder stands for its sources, each once', async (t) => {
  const root = project(t, { 'src/a/b.ts': '', 'src/a/c/d.ts': '', 'src/a/README.md': '', 'test/unit/a/b.test.ts': '' });
  t.strictSame(sourceFilesOf(['src/a/c/d.ts', 'src'], root), ['src/a/c/d.ts', 'src/a/b.ts']);
  t.throws(() => sourceFilesOf(['src/x'], root), { message: 'there is no src/x' });
  t.throws(() => sourceFilesOf(['src/a/README.md'], root), { message: /README.md: no TypeScript/ });
  t.throws(() => sourceFilesOf(['test/unit/a'], root), { message: /b.test.ts is no source file/ });
});

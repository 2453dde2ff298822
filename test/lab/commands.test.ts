import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { chooseMode, readModeFacts } from '../../tools/lab/mode.ts';
import { labContract } from '../unit/tools/lab-contract.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

t.test('npm start -- boot boots a guest, talks to it and powers it off', { timeout: 0 }, async (t) => {
  const { status, stdout, stderr } = spawnSync('npm', ['start', '--silent', '--', 'boot'], {
    cwd: root,
    encoding: 'utf8',
  });
  t.equal(status, 0, stderr);
  t.match(stdout, /The guest did all of it: booted, answered \d+ commands, kept a file on its disk, served a page/);
});

t.test('npm run bench -- boot compares three VMMs and says so in JSON', { timeout: 0 }, async (t) => {
  const args = ['run', '--silent', 'bench', '--', 'boot', '--rounds', '1', '--json'];
  const { status, stdout, stderr } = spawnSync('npm', args, { cwd: root, encoding: 'utf8' });
  t.equal(status, 0, stderr);
  const result = JSON.parse(stdout) as Record<string, number>;
  t.match(result, { bench: 'boot', ours_ms: Number, microvm_ms: Number, pc_ms: Number, node_start_ms: Number });
  // Of one round the median ratio is the ratio of the medians, which are rounded to milliseconds.
  const { ours_ms: ours = 0, pc_ms: pc = 0, ratio_pc: ratio = 0 } = result;
  t.ok(Math.abs(ratio * pc - ours) < 20, `${ours} / ${pc} is ${ratio}`);
});

// Where hosts are native, the unit tier holds the native ones to the same contract.
if (chooseMode(readModeFacts(), process.env.LAB).mode === 'emulated') {
  t.test('emulated hosts do what every lab must do', { timeout: 0 }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'lab-contract-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'given');
    writeFileSync(file, 'given', { mode: 0o640 });
    await labContract(t, 'emulated', file);
  });
}

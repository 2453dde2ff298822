import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'tap';
import { type Flag, runFlags, standbyFlags } from '../../../src/command-line/flags.ts';

const contrib = fileURLToPath(new URL('../../../contrib/', import.meta.url));
const names = readdirSync(contrib).filter((name) => name.endsWith('.service'));
const noSystemd = spawnSync('systemd-analyze', ['--version']).status === 0 ? false : 'no systemd-analyze here';

test('there is a unit for each side', async (t) => {
  t.strictSame(names.sort(), ['colo-vmm-standby@.service', 'colo-vmm@.service']);
});

test('systemd has nothing to say against the units', { skip: noSystemd }, async (t) => {
  const folder = t.testdir();
  const command = join(folder, 'colo-vmm');
  writeFileSync(command, '#!/bin/sh\n');
  chmodSync(command, 0o755);
  const instances = names.map((name) => {
    const unit = readFileSync(join(contrib, name), 'utf8').replaceAll('/usr/local/bin/colo-vmm', command);
    const path = join(folder, name.replace('@.', '@web.'));
    writeFileSync(path, unit);
    return path;
  });
  const { stdout, stderr } = await promisify(execFile)('systemd-analyze', ['verify', '--man=no', ...instances]);
  // It looks at the machine's own units as well.
  const ours = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('colo-vmm'));
  t.strictSame(ours, []);
});

for (const [name, command, flags] of [
  ['colo-vmm@.service', 'run', runFlags],
  ['colo-vmm-standby@.service', 'standby', standbyFlags],
] as const) {
  test(`${name} gives ${command} flags that it has`, async (t) => {
    const unit = readFileSync(join(contrib, name), 'utf8');
    const [, given = '', rest = ''] = /^ExecStart=\S+ (\S+) (.*)$/m.exec(unit) ?? [];
    t.equal(given, command);
    const known = new Set([...(flags as readonly Flag[]).map(([key]) => `--${key}`), '--config']);
    for (const [flag] of rest.matchAll(/--[\w-]+/g)) t.ok(known.has(flag), flag);
  });
}

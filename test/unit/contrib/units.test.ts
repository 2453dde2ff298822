import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { test } from 'tap';
import { type Flag, runFlags, standbyFlags } from '../../../src/command-line/flags.ts';
import { runHelp } from '../../../src/command-line/help.ts';
import { exitCode } from '../../../src/vmm/vcpu/guest-end.ts';

const contrib = fileURLToPath(new URL('../../../contrib/', import.meta.url));
const names = readdirSync(contrib).filter((name) => name.endsWith('.service'));
const noSystemd = spawnSync('systemd-analyze', ['--version']).status === 0 ? false : 'no systemd-analyze here';

const operating = readFileSync(join(contrib, '../docs/operating.md'), 'utf8');
const sigtermCode = 128 + constants.signals.SIGTERM;

type Settings = ReadonlyMap<string, string>;

/** What may stand in a unit several times. */
const lists = new Set(['After', 'ExecStop']);

/** What a unit sets. Of a list over several lines, the last. @throws Error if it sets anything else twice */
function settingsOf(name: string): Settings {
  const lines = readFileSync(join(contrib, name), 'utf8').matchAll(/^(\w+)=(.*)$/gm);
  const settings = new Map<string, string>();
  for (const [, key = '', value = ''] of lines) {
    if (settings.has(key) && !lists.has(key)) throw new Error(`${name} sets ${key} twice`);
    settings.set(key, value);
  }
  return settings;
}

const [guest, standby] = ['colo-vmm@.service', 'colo-vmm-standby@.service'].map(settingsOf) as [Settings, Settings];

test('there is a unit for each side', async (t) => {
  t.strictSame(names.sort(), ['colo-vmm-standby@.service', 'colo-vmm@.service']);
});

test('a guest that cannot shut down is ended, on both hosts, before the signal that its standby takes over from', async (t) => {
  t.equal(guest.get('ExecStop'), '-/usr/local/bin/colo-vmm stop --vm %i --force');
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

test('a guest that was handed over, and an end by the signal of systemctl stop, are no failures; all else is', async (t) => {
  for (const unit of [guest, standby]) {
    t.equal(unit.get('SuccessExitStatus'), `${exitCode.handedOver} ${sigtermCode}`);
    t.notOk(unit.has('KillSignal'), 'that signal is SIGTERM');
  }
  t.match(operating, `leaves by SIGTERM, exit code ${sigtermCode}, which both units take for success`);
});

test('only a guest whose arbiter gave no answer is started again', async (t) => {
  for (const unit of [guest, standby]) t.equal(unit.get('Restart'), 'no');
  t.equal(guest.get('RestartForceExitStatus'), String(exitCode.arbiterSilent));
  t.ok(Number(guest.get('RestartSec')) > 2, 'less often than systemd gives up: 5 times in 10 s');
  t.notOk(standby.has('RestartForceExitStatus'));
  t.match(operating, 'Only a primary whose arbiter gives no answer');
});

test('to start one of the two stops the other one first', async (t) => {
  t.equal(guest.get('Conflicts'), 'colo-vmm-standby@%i.service');
  t.equal(standby.get('Conflicts'), 'colo-vmm@%i.service');
  for (const unit of [guest, standby]) t.equal(unit.get('After'), unit.get('Conflicts'));
  t.match(operating, 'to start one of the two units stops the other one');
});

test('each exit code is in the manual, in --help and in the README, and no other one', async (t) => {
  const codes = Object.values(exitCode).map(String);
  const table = operating.slice(operating.indexOf('## Exit codes'), operating.indexOf('## When something happens'));
  t.strictSame(
    [...table.matchAll(/^\| (\d+) +\|/gm)].map(([, code]) => code),
    codes,
  );
  const help = runHelp.slice(runHelp.indexOf('Exit codes:'), runHelp.indexOf('Protection:'));
  t.strictSame(
    [...help.matchAll(/^ {2}(\d+) {4}/gm)].map(([, code]) => code),
    codes,
  );
  const [sentence = ''] = /^Exit codes: [^.]+\./m.exec(readFileSync(join(contrib, '../README.md'), 'utf8')) ?? [];
  t.strictSame(
    [...sentence.matchAll(/(?:: |, )(\d+) (?!\+)/g)].map(([, code]) => code),
    codes,
  );
});

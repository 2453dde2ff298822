import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { generationIdAddress } from '../../../src/memory/layout.ts';
import { halted } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { until } from '../../support/machines.ts';
import { ramIn } from '../../support/snapshot-machine.ts';
import { freeName, ip, makeInterface, noTaps } from '../../support/taps.ts';
import { kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm() || noTaps();
const noBridge = spawnSync('bridge', ['-V']).status === 0 ? false : 'no bridge command: apt-get install iproute2';
const mac = '02:00:00:ab:cd:ef';

interface Place {
  readonly folder: string;
  readonly tap: string;
  readonly bridge: string;
  vmm(...args: readonly string[]): Promise<VmmProcess>;
  say(...args: readonly string[]): Promise<string>;
}

/** A bridge that is up, and a silent guest with a card in it. */
function place(t: Test): Place {
  const folder = temporaryFolder(t);
  const [tap, bridge] = [freeName(), makeInterface(t, 'bridge')];
  ip('link', 'set', bridge, 'up');
  const env = { COLO_VMM_RUNTIME: folder };
  return {
    folder,
    tap,
    bridge,
    vmm: async (...args) => {
      const vmm = new VmmProcess(args, { env });
      t.teardown(() => vmm.child.kill('SIGKILL'));
      return vmm;
    },
    say: async (...args) => {
      const { code, stdout, stderr } = await runVmm(args, { env });
      if (code !== 0) throw new Error(stderr);
      return stdout;
    },
  };
}

async function boot(t: Test): Promise<Place & { readonly machine: VmmProcess }> {
  const here = place(t);
  const net = `tap=${here.tap},bridge=${here.bridge},mac=${mac}`;
  const machine = await here.vmm(
    'run',
    '--kernel',
    kernelFile(here.folder, halted('.')),
    '--memory',
    '16M',
    '--net',
    net,
  );
  await machine.printed('.');
  return { ...here, machine };
}

/** Whether the bridge has learned that the guest's address is behind the TAP. */
function isKnown({ tap }: Place): boolean {
  const entries = execFileSync('bridge', ['fdb', 'show', 'dev', tap], { encoding: 'utf8' });
  return entries.split('\n').some((line) => line.startsWith(`${mac} `) && !line.includes('permanent'));
}

test('a bridge learns where a restored machine is, though its guest is silent', {
  skip: skip || noBridge,
}, async (t) => {
  const here = await boot(t);
  t.notOk(isKnown(here), 'nobody has said so before');
  const file = join(here.folder, 'a.snap');
  await here.say('snapshot', '--stop', file);
  await here.machine.ended;
  await here.vmm('restore', file, '--paused');
  await until(async () => (await here.say('status', '--json').catch(() => '')).includes('"paused"'));
  t.notOk(isKnown(here), 'a machine that is paused is nowhere');
  await here.say('resume');
  await until(() => isKnown(here));
});

test("a bridge whose only port is a machine's has the same address after a restore", { skip }, async (t) => {
  const here = await boot(t);
  const address = (): string => readFileSync(`/sys/class/net/${here.bridge}/address`, 'latin1').trim();
  const before = address();
  t.equal(before, `fe${mac.slice(2)}`);
  const file = join(here.folder, 'a.snap');
  await here.say('snapshot', '--stop', file);
  await here.machine.ended;
  await here.vmm('restore', file);
  await until(() => address() === before);
});

test('a restored machine has another generation id, and one that was paused has not', { skip }, async (t) => {
  const here = await boot(t);
  const idIn = async (name: string, ...flags: readonly string[]): Promise<string> => {
    const file = join(here.folder, name);
    await here.say('snapshot', file, ...flags);
    return ramIn(file)
      .subarray(generationIdAddress, generationIdAddress + 16)
      .toString('hex');
  };
  const first = await idIn('a.snap');
  t.not(first, '00'.repeat(16));
  await here.say('pause');
  await here.say('resume');
  t.equal(await idIn('b.snap', '--stop'), first);
  await here.machine.ended;
  const restored = await here.vmm('restore', join(here.folder, 'b.snap'));
  await until(async () => (await here.say('status', '--json').catch(() => '')).includes('"running"'));
  t.not(await idIn('c.snap', '--stop'), first);
  await restored.ended;
});

test('a TAP that is removed under a running machine is told of once, and status shows it', { skip }, async (t) => {
  const here = await boot(t);
  ip('link', 'delete', here.tap);
  await until(async () => JSON.parse(await here.say('status', '--json')).cards[0].gone);
  t.match(await here.say('status'), /its TAP was removed/);
  const notices = here.machine.stderr.split('\n').filter((line) => line.includes(`the TAP ${here.tap} was removed`));
  t.equal(notices.length, 1);
  await here.say('stop', '--force');
  await here.machine.ended;
});

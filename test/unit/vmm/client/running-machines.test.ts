import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { chooseMachine, runningMachines } from '../../../../src/vmm/client/running-machines.ts';
import { controlPath } from '../../../../src/vmm/monitor/control-directory.ts';
import { ControlSocket } from '../../../../src/vmm/monitor/control-socket.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

type Test = Parameters<typeof temporaryFolder>[0];

/** A directory of control sockets of its own, in which these machines run. */
async function running(t: Test, ...names: readonly string[]): Promise<string> {
  const before = process.env.COLO_VMM_RUNTIME;
  t.teardown(() => {
    if (before === undefined) delete process.env.COLO_VMM_RUNTIME;
    else process.env.COLO_VMM_RUNTIME = before;
  });
  const folder = temporaryFolder(t);
  process.env.COLO_VMM_RUNTIME = folder;
  for (const name of names) {
    const socket = await ControlSocket.claim(controlPath(name));
    t.teardown(() => socket.close());
  }
  return join(folder, 'colo-vmm');
}

test('takes the only machine that runs', { timeout: 20_000 }, async (t) => {
  await running(t, 'mine');
  t.equal(await chooseMachine({}), controlPath('mine'));
  t.equal(await chooseMachine({ vm: 'mine' }), controlPath('mine'));
});

test('takes the socket that it is given, whatever runs', async (t) => {
  await running(t);
  t.equal(await chooseMachine({ control: '/some/where' }), '/some/where');
  await t.rejects(chooseMachine({ control: '/some/where', vm: 'mine' }), { message: /both name a machine/ });
});

test('asks which when several run', { timeout: 20_000 }, async (t) => {
  await running(t, 'b', 'a');
  await t.rejects(chooseMachine({}), { code: 'MONITOR', message: 'several machines run; say which with --vm: a, b' });
  t.equal(await chooseMachine({ vm: 'b' }), controlPath('b'));
  await t.rejects(chooseMachine({ vm: 'c' }), { message: '--vm c: no machine of that name runs; there are a, b' });
});

test('says how to start one when none runs', { timeout: 20_000 }, async (t) => {
  await running(t);
  await t.rejects(chooseMachine({}), { code: 'MONITOR', message: /^no machine runs; start one with colo-vmm run/ });
  await t.rejects(chooseMachine({ vm: '../c' }), { message: /^--vm \.\.\/c: no machine runs; start one with/ });
});

test('counts neither sockets that were left behind nor other files', { timeout: 20_000 }, async (t) => {
  const folder = await running(t, 'mine');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'file.sock'), '');
  writeFileSync(join(folder, 'notes'), '');
  const listen = `require('net').createServer().listen(${JSON.stringify(controlPath('dead'))}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', listen]);
  t.strictSame(await runningMachines(), ['mine']);
});

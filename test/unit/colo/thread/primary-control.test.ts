import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BroadcastChannel } from 'node:worker_threads';
import { type Test, test } from 'tap';
import { PrimaryControl } from '../../../../src/colo/thread/primary-control.ts';
import type { Machine } from '../../../../src/vmm/machine/machine.ts';
import { MachineEvents } from '../../../../src/vmm/machine/machine-events.ts';
import { smallEtcd } from '../side/etcd-rig.ts';
import { until } from '../side/host-rig.ts';

/** A machine that runs, as its protection sees it. */
function machine(): Machine {
  return {
    state: 'running',
    events: new MachineEvents(),
    replication: { deviceOrders: [] },
    shape: { cpus: 1, memoryBytes: 1 << 20 },
    facts: { disks: [], cards: [] },
    processor: { cpuid: [], tscKhz: 1, xsaveBytes: 0 },
  } as unknown as Machine;
}

async function primary(t: Test, url: string) {
  const stateDirectory = t.testdir();
  const options = {
    ...{ name: 'web', standby: 'b.example:7000', arbiter: `etcd:${url}`, insecure: true, state: stateDirectory },
  };
  const control = new PrimaryControl(
    machine(),
    new URL('../../../support/searching-colo-thread.mjs', import.meta.url),
    { name: 'web', holder: 'us' },
    () => {},
  );
  t.teardown(() => control.close());
  return {
    control,
    options,
    known: (): unknown => JSON.parse(readFileSync(join(stateDirectory, 'term.json'), 'utf8')),
    commands: async () => ((await control.status()) as unknown as { commands: string[] }).commands,
  };
}

/** How many colo threads this process has. */
async function threads(): Promise<number> {
  const roll = new BroadcastChannel('searching-colo-threads');
  const found = new Set<unknown>();
  roll.onmessage = (message) => found.add((message as MessageEvent).data);
  roll.postMessage('who?');
  // One that would be too many is there as early as the one that there should be.
  await until(() => found.size > 0);
  await delay(200);
  roll.close();
  return found.size;
}

test('of two that want it protected at a time one is refused, and no term is begun for it', async (t) => {
  const etcd = await smallEtcd(t);
  const { control, options, known } = await primary(t, etcd.url);
  const outcomes = await Promise.allSettled([control.protect(options), control.protect(options)]);
  t.match(outcomes, [
    { status: 'fulfilled' },
    { status: 'rejected', reason: { message: 'this machine is being protected already' } },
  ]);
  t.equal(await threads(), 1);
  t.strictSame([known(), etcd.known().term], [{ term: 1 }, 1]);
});

test('who asks again while an arbiter is silent does so beside nobody: a search that goes on keeps its term', async (t) => {
  const etcd = await smallEtcd(t);
  const { control, options, known, commands } = await primary(t, etcd.url);
  await control.protect(options);
  t.strictSame([known(), etcd.known().term], [{ term: 1 }, 1]);
  // It has no standby, and looks for one.
  control.calls?.tell('lose' as never, undefined as never);
  const questions = etcd.holds();
  const first = control.protect(options);
  const second = control.protect(options);
  first.catch(() => {});
  second.catch(() => {});
  await until(() => questions.held() > 0);
  // The first is answered by nobody, and whoever comes after it would be answered.
  await delay(100);
  etcd.isDown(true);
  questions.letGo();
  await t.rejects(first, { message: /^--arbiter: the arbiter etcd does not answer/ });
  etcd.isDown(false);
  await t.rejects(second, { message: 'this machine is being protected already' });
  t.strictSame(await commands(), ['unprotect', 'protect'], 'it looks on');
  t.strictSame([known(), etcd.known().term], [{ term: 1 }, 1], 'in the term that the arbiter knows');
  t.equal(await threads(), 1);
});

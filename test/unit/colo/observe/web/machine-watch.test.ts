import { join } from 'node:path';
import { type Test, test } from 'tap';
import { MachineWatch } from '../../../../../src/colo/observe/web/machine-watch.ts';
import type { ColoEvent } from '../../../../../src/vmm/monitor/colo-control.ts';
import { ControlSocket } from '../../../../../src/vmm/monitor/control-socket.ts';
import { Monitor } from '../../../../../src/vmm/monitor/monitor.ts';
import { FakeColo } from '../../../../support/fake-colo.ts';
import { FakeMachine } from '../../../../support/fake-machine.ts';
import { temporaryFolder } from '../../../../support/vmm-process.ts';
import { until } from '../../side/host-rig.ts';

class CountingColo extends FakeColo {
  questions = 0;

  override async status() {
    this.questions++;
    return super.status();
  }
}

function event(text: string): ColoEvent {
  return { at: 1, monotonicMs: 1, topic: 'takeover', text, event: 'failover' };
}

async function watched(t: Test) {
  const colo = new CountingColo();
  const path = join(temporaryFolder(t), 'control');
  const watch = new MachineWatch(path);
  t.teardown(() => watch.close());
  const begin = async (): Promise<ControlSocket> => {
    const control = await ControlSocket.claim(path);
    t.teardown(() => control.close());
    control.serve(new Monitor(new FakeMachine(), { name: 'mine', colo }));
    return control;
  };
  return { colo, watch, begin };
}

test('a machine that is not there yet is found when it is', async (t) => {
  const { watch, begin } = await watched(t);
  t.match(await watch.now(), { problem: /there is no such socket/ });
  await begin();
  let heard = await watch.now();
  while (!('status' in heard)) {
    await new Promise(setImmediate);
    heard = await watch.now();
  }
  t.match(heard, { status: { name: 'mine', colo: { headline: 'PROTECTED' } } });
});

test('whoever asks at the same time, or at once again, hears the same', async (t) => {
  const { watch, colo, begin } = await watched(t);
  await begin();
  const [one, other] = await Promise.all([watch.now(), watch.now()]);
  t.equal(one, other);
  t.equal(colo.questions, 1);
});

test('events of before and from then on are kept, the newest of them', async (t) => {
  const { watch, colo, begin } = await watched(t);
  colo.log.push(event('before'));
  await begin();
  await watch.now();
  t.match(watch.events, [{ text: 'before', event: 'failover' }]);
  for (let number = 0; number < 60; number++) colo.happen(event(`after ${number}`));
  await until(() => watch.events.at(-1)?.text === 'after 59');
  t.equal(watch.events.length, 50);
});

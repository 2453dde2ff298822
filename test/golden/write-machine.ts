import { machineStateVersion } from '../../src/vmm/vmstate/machine-state.ts';
import { encodeMachineState } from '../../src/vmm/vmstate/state-codec.ts';
import { crowd } from '../support/guests.ts';
import { bootMachine, forAWhile } from '../support/machines.ts';
import { wholeMachine, writeGoldenFile } from './golden-files.ts';

/** `npx tsx test/golden/write-machine.ts`: the state of a whole machine, with two vCPUs. It needs /dev/kvm and the bundle. */
async function main(): Promise<void> {
  const clean: (() => unknown)[] = [];
  const machine = bootMachine({ teardown: (step) => clean.push(step) }, crowd(2), { cpus: 2 });
  await forAWhile(50);
  machine.pause();
  const name = `${wholeMachine}-${machineStateVersion}`;
  const isNew = writeGoldenFile(name, encodeMachineState(machine.save()));
  process.stdout.write(`${name}: ${isNew ? 'written' : 'is there, and stays as it is'}\n`);
  for (const step of clean) await step();
}

await main();

import { encode } from 'cbor-x';
import { test } from 'tap';
import { machineStateVersion } from '../../../../src/vmm/vmstate/machine-state.ts';
import { decodeMachineState, encodeMachineState } from '../../../../src/vmm/vmstate/state-codec.ts';
import { goldenFiles, wholeMachine } from '../../../golden/golden-files.ts';

const files = goldenFiles().filter(({ kind }) => kind === wholeMachine);

test('there is a golden file of a machine', async (t) => {
  t.ok(files.some(({ name }) => name === `${wholeMachine}-${machineStateVersion}`));
});

for (const { name, value } of files) {
  test(`${name}, which an earlier build wrote, is read, and written again as it was`, async (t) => {
    const state = decodeMachineState(encode(value));
    t.strictSame(decodeMachineState(encodeMachineState(state)), state);
    t.equal(state.version, machineStateVersion);
    t.equal(state.vcpus.length, 2);
    t.same(state.vcpus[1]?.regs, (value as typeof state).vcpus[1]?.regs, 'nothing is lost');
  });
}

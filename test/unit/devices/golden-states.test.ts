import { test } from 'tap';
import { goldenDevices, goldenVersion } from '../../golden/golden-devices.ts';
import { goldenFiles, wholeMachine } from '../../golden/golden-files.ts';

const files = goldenFiles().filter(({ kind }) => kind !== wholeMachine);

test('there is a golden file of every device', async (t) => {
  const names = files.map(({ name }) => name);
  for (const kind of Object.keys(goldenDevices)) t.ok(names.includes(`${kind}-${goldenVersion}`), kind);
});

for (const { name, kind, value } of files) {
  test(`${name}, which an earlier build wrote, is loaded and saved again as it was`, async (t) => {
    const device = goldenDevices[kind]?.();
    if (device === undefined) throw new Error(`nothing is called ${kind}`);
    t.teardown(() => device.close());
    const fresh = device.save();
    device.load(value);
    t.strictSame(device.save(), value);
    t.notSame(fresh, value, 'it holds more than a fresh device');
  });
}

import { closeSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { openDiskFile } from '../../../../../src/block/disk-file.ts';
import type { InheritedChanges } from '../../../../../src/colo/disk/history/primary-changes.ts';
import { OwnHistory } from '../../../../../src/colo/side/secondary/own-history.ts';
import type { DeviceOrder } from '../../../../../src/vmm/io/device-orders.ts';

const generation = 'ab'.repeat(16);

/** A standby's host, whose disk is of a generation. */
async function rig(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'colo-own-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const state = join(folder, 'state');
  mkdirSync(state);
  const path = join(folder, 'root');
  writeFileSync(path, Buffer.alloc(4096));
  const file = openDiskFile(path, {});
  t.teardown(() => closeSync(file.fd));
  const devices = [{ device: { kind: 'disk', id: 'root', file } }] as unknown as DeviceOrder[];
  const said: string[] = [];
  const made: OwnHistory[] = [];
  /** What a process that comes later knows. */
  const past = (renewed: (changes: InheritedChanges) => void = () => {}) => {
    const history = new OwnHistory(state, 'web', (text) => said.push(text));
    made.push(history);
    return { history, past: history.of(devices, renewed) };
  };
  t.teardown(() => {
    for (const history of made) history.rest();
  });
  return { folder, state, said, past };
}

test('what a standby is told of its disks is known to the next process, and to who takes over', async (t) => {
  const { state, past, said } = await rig(t);
  const renewed: InheritedChanges[] = [];
  const first = past((changes) => renewed.push(changes));
  t.equal(first.past.history, undefined);
  await first.past.renew(generation);
  t.match(renewed, [{ generation, shared: { path: join(state, 'activity.log'), sizes: [4096] } }]);
  t.match(past().past.history, { generation, regions: Uint8Array.of(0) });
  t.strictSame(said, []);
});

test('what is forgotten is not known, also if it comes back with a state directory that could not be written', async (t) => {
  const { folder, state, past, said } = await rig(t);
  const first = past();
  await first.past.renew(generation);
  first.history.rest();
  await first.history.settled();
  renameSync(state, join(folder, 'away'));
  await first.history.forget();
  t.strictSame(said, []);
  renameSync(join(folder, 'away'), state);
  t.equal(past().past.history, undefined);
  t.match(said, [/root was used for something else/]);
});

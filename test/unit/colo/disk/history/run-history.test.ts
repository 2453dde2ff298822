import { closeSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { openDiskFile } from '../../../../../src/block/disk-file.ts';
import { logIdBytes } from '../../../../../src/block/replicated/region-file.ts';
import type { SharedChanges } from '../../../../../src/block/replicated/shared-changes.ts';
import { HistoryStore } from '../../../../../src/colo/disk/history/history-store.ts';
import { continueHistory } from '../../../../../src/colo/disk/history/run-history.ts';
import type { DeviceOrder } from '../../../../../src/vmm/io/device-orders.ts';

const generation = 'ab'.repeat(16);

async function rig(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'colo-run-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'root');
  writeFileSync(path, Buffer.alloc(4096));
  const file = openDiskFile(path, {});
  t.teardown(() => closeSync(file.fd));
  const devices = [{ device: { kind: 'disk', id: 'root', file } }] as unknown as DeviceOrder[];
  const store = new HistoryStore(folder, 'web');
  const log = new Uint8Array(logIdBytes).fill(7);
  const disks = [{ path, sizeBytes: 4096, readOnly: false }];
  await store.stamp(disks, log);
  await store.newLog(log, [4096], true);
  await store.write(generation, log, disks);
  const kept: SharedChanges[] = [];
  const begin = (keep = (changes: SharedChanges): void => void kept.push(changes)) =>
    continueHistory({ stateDirectory: folder, pair: 'web' }, devices, keep);
  return { folder, path, log, kept, begin };
}

test('what was known goes on: the same log, and all that it has marked', async (t) => {
  const { folder, path, log, kept, begin } = await rig(t);
  const changes = begin();
  t.match(changes, { generation, regions: Uint8Array.of(0xff) });
  t.match(kept, [{ path: join(folder, 'activity.log'), id: log, sizes: [4096], stamps: [`${path}.pair`] }]);
  t.equal(changes?.shared, kept[0]);
  t.ok(existsSync(`${path}.pair`), "its disk is the pair's still");
});

test('if nothing is known, or it cannot go on, nobody relies on it any more', async (t) => {
  const spoilt = await rig(t);
  writeFileSync(join(spoilt.folder, 'activity.log'), 'torn');
  t.equal(spoilt.begin(), undefined);
  t.strictSame([spoilt.kept, existsSync(`${spoilt.path}.pair`)], [[], false]);
  const failing = await rig(t);
  t.equal(
    failing.begin(() => {
      throw new Error('no such log');
    }),
    undefined,
  );
  t.notOk(existsSync(`${failing.path}.pair`));
});

import { test } from 'tap';
import type { SecondaryPhase } from '../../../../../src/colo/core/secondary/secondary-phase.ts';
import type { StandbyDisks } from '../../../../../src/colo/disk/standby/standby-disks.ts';
import { term } from '../../../../../src/colo/protocol/numbers.ts';
import { EventLog } from '../../../../../src/colo/side/event-log.ts';
import { StandbyBackup } from '../../../../../src/colo/side/secondary/standby-backup.ts';

const none = { disks: [] } as unknown as StandbyDisks;

function backups(): StandbyBackup {
  const now = (): number => 0;
  return new StandbyBackup('web', new EventLog(now, () => {}), now);
}

for (const [phase, reason] of [
  ['listening', /protects no guest now/],
  ['greeting', /being copied from the primary/],
  ['seeding', /being copied from the primary/],
  ['ready', /being copied from the primary/],
  ['protecting', /has no disks/],
  ['taking-over', /protects no guest now/],
  ['leaving', /protects no guest now/],
  ['claiming', /protects no guest now/],
  ['live', /has taken over/],
  ['refused', /protects no guest now/],
  ['failed', /protects no guest now/],
  ['ended', /protects no guest now/],
] as const satisfies readonly (readonly [SecondaryPhase, RegExp])[]) {
  test(`a standby that is ${phase} makes no backup, and says why`, async (t) => {
    await t.rejects(backups().make('/nowhere/monday', { phase, term: term(1), disks: none }), { message: reason });
  });
}

test('one backup is made at a time, and one that failed is over', async (t) => {
  const backup = backups();
  const disks = { disks: [{ id: 'root', sizeBytes: 512 }] } as unknown as StandbyDisks;
  const side = { phase: 'protecting', term: term(1), disks } as const;
  const first = backup.make('/nowhere/monday', side);
  await t.rejects(backup.make('/nowhere/tuesday', side), { message: /a backup to \/nowhere\/monday is being made/ });
  await t.rejects(first, { message: /^there is no backup in \/nowhere\/monday: .*Make it first$/ });
  t.equal(backup.progress, undefined);
  await t.rejects(backup.make('/nowhere/tuesday', side), { message: /no backup in \/nowhere\/tuesday/ });
});

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'tap';
import {
  findHierarchy,
  type Hierarchy,
  ProcessorQuota,
  removeQuotas,
} from '../../../../../tools/chaos/host/processor-quota.ts';
import { temporaryFolder } from '../../../../support/vmm-process.ts';

/** Files as the kernel has them: those of a new group are made by us, who are no kernel. */
function folderWith(t: Parameters<typeof temporaryFolder>[0], files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder(t);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(path.endsWith('/') ? join(folder, path) : dirname(join(folder, path)), { recursive: true });
    if (!path.endsWith('/')) writeFileSync(join(folder, path), text);
  }
  return folder;
}

function found(folder: string, groups: string): Hierarchy {
  const hierarchy = findHierarchy(folder, groups);
  if (typeof hierarchy === 'string') throw new Error(hierarchy);
  return hierarchy;
}

function made(hierarchy: Hierarchy): ProcessorQuota {
  const quota = ProcessorQuota.make('group', hierarchy);
  if (typeof quota === 'string') throw new Error(quota);
  return quota;
}

test('version 2: a group of the top is limited by cpu.max, and what was in it goes back to where we are', async (t) => {
  const folder = folderWith(t, {
    'cgroup.controllers': 'cpuset cpu io\n',
    'cgroup.subtree_control': 'io\n',
    'user/us/cgroup.procs': '',
  });
  const quota = made(found(folder, '0::/user/us\n'));
  t.equal(readFileSync(join(folder, 'cgroup.subtree_control'), 'utf8'), '+cpu', 'groups have it too');

  quota.starve(77, { share: 0.02, periodMs: 300 });
  t.equal(readFileSync(join(folder, 'group/cpu.max'), 'utf8'), '6000 300000');
  t.equal(readFileSync(join(folder, 'group/cgroup.procs'), 'utf8'), '77');

  quota.feed();
  t.match(readFileSync(join(folder, 'group/cpu.max'), 'utf8'), /^max /);
  t.equal(readFileSync(join(folder, 'user/us/cgroup.procs'), 'utf8'), '77');
});

test('version 1: a group beside ours is limited by cfs_quota_us', async (t) => {
  for (const name of ['cpu', 'cpu,cpuacct']) {
    const folder = folderWith(t, { [`${name}/cpu.cfs_quota_us`]: '-1\n', [`${name}/us/cgroup.procs`]: '' });
    const quota = made(found(folder, `4:memory:/elsewhere\n1:${name}:/us\n0::/\n`));

    quota.starve(77, { share: 0.001, periodMs: 100 });
    const read = (file: string): string => readFileSync(join(folder, name, file), 'utf8');
    t.equal(read('group/cpu.cfs_quota_us'), '1000', 'the least that the kernel takes');
    t.equal(read('group/cpu.cfs_period_us'), '100000');
    t.equal(read('group/cgroup.procs'), '77');

    quota.feed();
    t.equal(read('group/cpu.cfs_quota_us'), '-1');
    t.equal(read('us/cgroup.procs'), '77');
  }
});

test('why there is none is said', async (t) => {
  t.match(findHierarchy(folderWith(t, { 'cgroup.controllers': 'memory\n' }), '0::/\n'), /has no cpu$/);
  t.match(findHierarchy(temporaryFolder(t), ''), /has neither cgroup.controllers nor/);
  const hierarchy: Hierarchy = { root: '/dev/null', own: '/', limit: () => [] };
  t.match(ProcessorQuota.make('group', hierarchy), /^no control group can be made: /);
});

test('groups that somebody left are removed, and no others', async (t) => {
  const folder = folderWith(t, { 'cgroup.controllers': 'cpu\n', 'csm-1-a/': '', 'csm-2-a/': '' });
  await removeQuotas('csm-1-', found(folder, '0::/\n'));
  t.notOk(existsSync(join(folder, 'csm-1-a')));
  t.ok(existsSync(join(folder, 'csm-2-a')));
});

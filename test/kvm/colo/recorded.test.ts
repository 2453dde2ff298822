import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { test } from 'tap';
import { imageSuites } from '../../../tools/images/kernel.ts';
import { fetchPackages } from '../../../tools/packages/package-set.ts';
import { commandFromSet } from '../../../tools/packages/run-from-set.ts';
import { protectAnswering } from '../../support/answering-pair.ts';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { readPcapng } from '../../support/pcapng.ts';
import { noTaps } from '../../support/taps.ts';
import { runVmm, temporaryFolder } from '../../support/vmm-process.ts';

const skip = noKvm() || noTaps() || noEtcd();

/** How often each decision and its reason stand in comments: `held; epoch 7; primary; why` without the epoch. */
function decisions(comments: readonly string[]): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const comment of comments) {
    const what = comment.replace(/; (no epoch|epoch \d+);/, ';');
    found.set(what, (found.get(what) ?? 0) + 1);
  }
  return found;
}

test('both sides record what became of each packet, whole at every stop, and tshark reads it', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const folder = temporaryFolder(t);
  const [a, b] = [join(folder, 'a.pcapng'), join(folder, 'b.pcapng')] as const;
  const { pair, client, primary, standby } = await protectAnswering(
    t,
    ['--mode', 'comparing', '--pcap', a],
    ['--pcap', b],
  );
  const answers = 20;
  for (let number = 1; number <= answers; number++) await client.ask('s', number);
  await client.ask('d', answers + 1);
  t.match(await runVmm(['switchover', '--control', pair.control('a')]), { code: 0 });
  await primary.ended;
  await client.ask('s', answers + 2);
  await runVmm(['stop', '--force', '--control', pair.control('b')]);
  await standby.ended;

  const recordedByA = readPcapng(a);
  const byA = decisions(recordedByA.packets.map(({ comment }) => comment));
  const atLeast = (found: ReadonlyMap<string, number>, what: string, least: number): void => {
    const times = found.get(what) ?? 0;
    t.ok(times >= least, `${what}: ${times} times`);
  };
  atLeast(byA, 'mirrored; primary; sent to the standby', answers);
  atLeast(byA, 'held; primary; until both guests have said it', answers);
  atLeast(byA, 'compared; secondary; the primary looks for its like', answers);
  atLeast(byA, 'released; primary; both guests have said it', answers / 2);
  atLeast(byA, 'released; primary; a checkpoint covers it', 1);
  t.match(recordedByA.statistics[0]?.comment, /none is missing/);

  const byB = decisions(readPcapng(b).packets.map(({ comment }) => comment));
  atLeast(byB, 'mirrored; secondary; it enters the guest', answers);
  atLeast(byB, 'held; secondary; the primary looks for its like', answers);

  const tshark = await fetchPackages({ names: ['tshark'], suites: imageSuites });
  const { program, args } = commandFromSet(tshark.root, 'usr/bin/tshark', 'tshark');
  const { stdout } = await promisify(execFile)(
    program,
    [
      ...args,
      '-r',
      a,
      '-Y',
      'frame.comment contains "both guests have said it" and udp.port == 7',
      '-T',
      'fields',
      '-e',
      'frame.comment',
    ],
    { env: { ...process.env, HOME: folder }, maxBuffer: 64 * 1024 * 1024 },
  );
  const seen = decisions(stdout.trim().split('\n'));
  atLeast(seen, 'released; primary; both guests have said it', answers / 2);
});

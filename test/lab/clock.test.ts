import { setTimeout as forAWhile } from 'node:timers/promises';
import t from 'tap';
import { GuestSession } from '../../tools/guest-session.ts';
import type { Host } from '../../tools/lab/host.ts';
import { vmmInHost } from '../../tools/vmm-files.ts';
import { labHost, patienceMs, startGuest } from '../support/lab-guest.ts';

const snapshot = '/tmp/busy.snap';
/** What the clock jumps by at least. A task that were charged with it would stand still about as long. */
const awayMs = 20_000;

/** Has the VMM in the host do something; what it prints. */
async function vmm(host: Host, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await host.run(['node', vmmInHost, ...args], { timeoutMs: patienceMs });
  if (status !== 0) throw new Error(`colo-vmm ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** How far two loops in the guest have come, and how long it has been up, in seconds. */
async function progress(session: GuestSession): Promise<{ counts: number[]; uptime: number }> {
  const text = await session.run('tail -qn 1 /tmp/a /tmp/b /proc/uptime', patienceMs);
  const [a = 0, b = 0, uptime = 0] = text.split(/\s+/).map(Number);
  return { counts: [a, b], uptime };
}

t.test('two programs of a busy guest both go on after its clock has jumped', { timeout: 0 }, async (t) => {
  const { lab, host } = await labHost(t);
  const guest = startGuest(lab, host);
  await guest.session.login(patienceMs);
  const loop = (name: string): string =>
    // Of builtin commands alone: a child would be charged, and end.
    `(i=0; while :; do i=$((i + 1)); [ $((i % 500)) = 0 ] && echo $i >> /tmp/${name}; done) &`;
  await guest.session.run(`${loop('a')} ${loop('b')} sleep 5`, patienceMs);
  const before = await progress(guest.session);
  // Where the loops alone are at work.
  await forAWhile(2000);
  await vmm(host, 'snapshot', '--stop', snapshot);
  await guest.ended();
  await forAWhile(awayMs);

  const process = host.spawn(['node', vmmInHost, 'restore', snapshot, '--clock', 'jump']);
  process.exit.catch(() => {});
  const session = new GuestSession(process);
  const first = await progress(session);
  for (;;) {
    const { clockBehindMs } = JSON.parse(await vmm(host, 'status', '--json')) as { clockBehindMs: number };
    if (clockBehindMs === 0) break;
  }
  const start = await progress(session);
  t.ok(start.uptime >= before.uptime + awayMs / 1000, `the clock went from ${before.uptime} to ${start.uptime}`);
  await session.run('sleep 4', patienceMs);
  const end = await progress(session);
  for (const index of [0, 1]) {
    const counts = [before, first, start, end].map(({ counts }) => counts[index] ?? 0);
    const [since = 0, until = 0] = counts.slice(-2);
    t.ok(until > since, `loop ${index}: ${counts}`);
  }
  session.type('poweroff -f');
  t.equal((await process.exit).status, 0);
});

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'tap';
import { spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { common, complains, freePort, Hosts } from '../../support/two-hosts.ts';
import { kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm();

/** The text of the figures there; none while nobody serves them. */
async function scrape(port: number): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
  return answer.text();
}

/** Waits until all of these lines stand there. */
async function says(port: number, ...lines: readonly (string | RegExp)[]): Promise<void> {
  const isSaid = (text: string) => (line: string | RegExp) =>
    typeof line === 'string' ? text.split('\n').includes(line) : line.test(text);
  while (!lines.every(isSaid(await scrape(port)))) await new Promise((resolve) => setTimeout(resolve, 50));
}

test('figures are served of both sides, and follow the roles', { skip, timeout: 120_000 }, async (t) => {
  const hosts = await Hosts.make(t);
  const [a, b] = [await freePort(), await freePort()];
  await hosts.standby('--insecure', '--disk', hosts.disk('b.img'), '--metrics', String(b));
  await says(b, 'colo_vmm_protected 0', 'colo_vmm_state{state="LISTENING"} 1', 'colo_vmm_guest_running 0');
  const guest = await hosts.guest('--disk', hosts.disk('a.img'), '--metrics', `127.0.0.1:${a}`);
  await says(a, 'colo_vmm_up 1', 'colo_vmm_protected 0', 'colo_vmm_guest_running 1', /role="none"/);

  t.equal((await hosts.protect('--insecure', '--checkpoint-delay', '500')).code, 0);
  await says(a, 'colo_vmm_protected 1', 'colo_vmm_state{state="PROTECTED"} 1', /role="primary"/);
  await says(b, 'colo_vmm_protected 1', 'colo_vmm_state{state="PROTECTING"} 1', /role="secondary"/);
  await says(a, /^colo_vmm_guest_stop_part_seconds\{part="copy"\} /m, /^colo_vmm_checkpoints_total [2-9]/m);

  guest.child.kill('SIGKILL');
  await says(b, 'colo_vmm_protected 0', 'colo_vmm_state{state="WAITING"} 1');
  t.equal((await hosts.say('b', 'failover')).code, 0);
  await says(b, 'colo_vmm_state{state="UNPROTECTED"} 1', /role="primary"/, 'colo_vmm_guest_running 1');
  await says(b, 'colo_vmm_survivor 1', 'colo_vmm_term 2', 'colo_vmm_events_total{event="failover"} 1');
});

test('a VMM ends at once though clients hold on to it, and lets the port go', { skip, timeout: 60_000 }, async (t) => {
  const folder = temporaryFolder(t);
  const port = await freePort();
  const kernel = kernelFile(folder, spinning('ready'));
  const vmm = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', '--metrics', String(port)]);
  t.teardown(() => vmm.child.kill('SIGKILL'));
  await vmm.printed('ready');
  const silent = connect(port, '127.0.0.1').on('error', () => {});
  await once(silent, 'connect');
  await says(port, 'colo_vmm_up 1');
  const { code, tookMs } = await vmm.endedBySignal('SIGTERM');
  t.equal(code, 143);
  t.ok(tookMs < 1000, `it took ${tookMs} ms`);
  await t.rejects(scrape(port));
});

test('figures and the page are served of a machine that is restored as well', { skip, timeout: 60_000 }, async (t) => {
  const folder = temporaryFolder(t);
  const kernel = kernelFile(folder, spinning('ready'));
  const [snapshot, control] = [join(folder, 'web.snap'), join(folder, 'web.sock')];
  const saved = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', '--control', control]);
  t.teardown(() => saved.child.kill('SIGKILL'));
  await saved.printed('ready');
  t.equal((await runVmm(['snapshot', '--control', control, '--stop', snapshot])).code, 0);
  await saved.ended;

  const [figures, page] = [await freePort(), await freePort()];
  const web = ['--metrics', String(figures), '--dashboard', String(page)];
  const restored = new VmmProcess(['restore', snapshot, '--control', control, ...web]);
  t.teardown(() => restored.child.kill('SIGKILL'));
  while ((await runVmm(['status', '--control', control])).code !== 0) {
    if (restored.child.exitCode !== null) throw new Error(restored.stderr);
  }
  await says(figures, 'colo_vmm_up 1', 'colo_vmm_guest_running 1');
  t.equal((await fetch(`http://127.0.0.1:${page}/`)).status, 200);
});

test('where figures cannot be served no guest starts, and a sentence says why', {
  skip,
  timeout: 60_000,
}, async (t) => {
  const kernel = kernelFile(temporaryFolder(t), spinning('ready'));
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as { port: number };
  const run = (at: string) => runVmm(['run', '--kernel', kernel, '--memory', '16M', '--metrics', at]);
  const inUse = await run(String(port));
  complains(t, inUse, /another program has this port/);
  t.equal(inUse.stdout, '');
  complains(t, await run('192.0.2.1:9100'), /this host has no such address/);
  complains(t, await run('9100x'), /--metrics 9100x: give HOST:PORT/);
  const twice = ['--metrics', '9100', '--dashboard', '127.0.0.1:9100'];
  complains(
    t,
    await runVmm(['run', '--kernel', kernel, '--memory', '16M', ...twice]),
    /--metrics has this port already/,
  );
  const standby = ['standby', '--name', 'web', '--listen', '127.0.0.1:1', '--insecure', ...common];
  complains(t, await runVmm([...standby, '--metrics', String(port)]), /another program has this port/);
});

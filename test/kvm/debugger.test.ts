import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { test } from 'tap';
import { spinning } from '../support/guests.ts';
import { noKvm } from '../support/kvm.ts';
import { until } from '../support/machines.ts';
import { kernelFile, runVmm, temporaryFolder, VmmProcess } from '../support/vmm-process.ts';

type Test = Parameters<typeof temporaryFolder>[0];

const skip = noKvm();

/** A port that the kernel chooses: these tests may run beside each other. */
const withDebugger = { NODE_OPTIONS: '--inspect=127.0.0.1:0' };

function start(t: Test, options: ConstructorParameters<typeof VmmProcess>[1]): VmmProcess {
  const folder = temporaryFolder(t);
  const vmm = new VmmProcess(['run', '--kernel', kernelFile(folder, spinning('ready')), '--memory', '16M'], {
    ...options,
    env: { COLO_VMM_RUNTIME: folder, ...options?.env },
  });
  t.teardown(() => vmm.child.kill('SIGKILL'));
  return vmm;
}

/** Addresses, in hex, at which a process listens by TCP. */
function listening(pid: number): string[] {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      } catch {
        return undefined; // closed meanwhile
      }
    }),
  );
  return ['tcp', 'tcp6'].flatMap((family) =>
    readFileSync(`/proc/${pid}/net/${family}`, 'latin1')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === '0A' && sockets.has(fields[9]))
      .map((fields) => fields[1] as string),
  );
}

/** Whether the process has a handler for SIGUSR1: before, the signal ends it. */
function catchesUsr1(pid: number): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return (Number.parseInt(caught?.slice(-4) ?? '0', 16) & (1 << 9)) !== 0;
}

test('the command listens to nobody, whatever NODE_OPTIONS and SIGUSR1 say', { skip, timeout: 120_000 }, async (t) => {
  const vmm = start(t, { asCommand: true, env: withDebugger });
  await until(() => vmm.child.exitCode !== null || catchesUsr1(vmm.pid));
  // From the first moment on, when Node's own handler is still there.
  while (vmm.child.exitCode === null && !vmm.stdout.includes('ready')) {
    vmm.child.kill('SIGUSR1');
    await setTimeout(2);
    t.strictSame(listening(vmm.pid), []);
  }
  vmm.child.kill('SIGUSR1');
  await setTimeout(500);
  t.strictSame(listening(vmm.pid), []);
  t.equal(vmm.child.exitCode, null, 'and it runs');
  t.notMatch(vmm.stderr, /Debugger/);
});

test('SIGUSR1 does nothing to a VMM that was started by node', { skip, timeout: 120_000 }, async (t) => {
  const vmm = start(t, {});
  await vmm.printed('ready');
  for (let signals = 0; signals < 5; signals++) {
    vmm.child.kill('SIGUSR1');
    await setTimeout(100);
    t.strictSame(listening(vmm.pid), []);
  }
  t.equal(vmm.child.exitCode, null);
  t.equal(vmm.stderr, '');
});

test('a VMM that was started by node ends at once where NODE_OPTIONS opens a debugger', {
  timeout: 60_000,
}, async (t) => {
  const { code, stderr } = await runVmm(['status'], { env: withDebugger });
  t.equal(code, 1);
  t.match(stderr, /colo-vmm: a debugger listens at ws:.*unset NODE_OPTIONS, or start node with --inspect/);
});

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'tap';
import { echoing, halted, printing, reciting, spinning, storming } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { forAWhile, until } from '../../support/machines.ts';
import { bundle, kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm();

/** What the issue of an operator's patience is: an end that was asked for happens within this time. */
const promptMs = 1000;

/** A running machine whose temporary files and sockets all lie in a folder of its own. */
async function start(t: Parameters<typeof temporaryFolder>[0], code: Uint8Array, ready: string, ...args: string[]) {
  const folder = temporaryFolder(t);
  const kernel = kernelFile(folder, code);
  const runtime = mkdtempSync(join(folder, 'run-'));
  const vmm = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', ...args], {
    env: { COLO_VMM_RUNTIME: runtime, TMPDIR: runtime },
  });
  t.teardown(() => vmm.child.kill('SIGKILL'));
  if (ready !== '') await vmm.printed(ready);
  return { vmm, runtime, folder };
}

/** Files under a folder, at any depth. */
function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => entry.name);
}

const guests = [
  ['spins', spinning('ready')],
  ['is halted', halted('ready')],
  ['exits all the time', storming('ready')],
] as const;

for (const [state, code] of guests) {
  for (const [signal, exitCode] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    test(`ends on ${signal} within a second while the guest ${state}, and leaves nothing`, { skip }, async (t) => {
      const { vmm, runtime } = await start(t, code, 'ready', '--cpus', '2');
      t.equal(filesUnder(runtime).length, 1, 'there is a control socket before');

      const ending = await vmm.endedBySignal(signal);

      t.equal(ending.code, exitCode);
      t.match(ending.stderr, new RegExp(`^colo-vmm: stopped by ${signal}\\n`));
      t.ok(ending.tookMs < promptMs, `took ${ending.tookMs} ms`);
      t.strictSame(filesUnder(runtime), []);
      t.equal(existsSync(`/proc/${vmm.pid}`), false);
    });
  }

  test(`ends within a second when its standard input closes while the guest ${state}`, { skip }, async (t) => {
    const { vmm, runtime } = await start(t, code, 'ready');
    const started = performance.now();
    vmm.child.stdin?.end();
    await once(vmm.child, 'exit');
    const tookMs = performance.now() - started;
    const ending = await vmm.ended;
    t.equal(ending.code, 129);
    t.match(ending.stderr, /stopped by the end of standard input/);
    t.ok(tookMs < promptMs, `took ${tookMs} ms`);
    t.strictSame(filesUnder(runtime), []);
  });
}

test('leaves no process when it is killed', { skip }, async (t) => {
  const { vmm } = await start(t, spinning('ready'), 'ready', '--cpus', '2');
  const { signal } = await vmm.endedBySignal('SIGKILL');
  t.equal(signal, 'SIGKILL');
  t.equal(existsSync(`/proc/${vmm.pid}`), false);
});

for (const delayMs of [0, 20, 40, 60, 80, 100, 150]) {
  test(`leaves nothing when it is told to end ${delayMs} ms after it was started`, { skip }, async (t) => {
    const { vmm, runtime } = await start(t, spinning(), '');
    await forAWhile(delayMs);
    const { code, signal } = await vmm.endedBySignal('SIGTERM');
    t.ok(code === 143 || signal === 'SIGTERM', `exit code ${code}, signal ${signal}`);
    t.strictSame(filesUnder(runtime), []);
  });
}

test('ends as it was asked to when nobody is there to read why', { skip }, async (t) => {
  const { vmm, runtime } = await start(t, spinning('ready'), 'ready');
  vmm.child.stderr?.destroy();
  vmm.child.stdout?.destroy();
  const { code, tookMs } = await vmm.endedBySignal('SIGTERM');
  t.equal(code, 143);
  t.ok(tookMs < promptMs, `took ${tookMs} ms`);
  t.strictSame(filesUnder(runtime), []);
});

test('takes over the control socket of a VMM that was killed', { skip }, async (t) => {
  const { vmm, runtime, folder } = await start(t, spinning('ready'), 'ready', '--name', 'mine');
  await vmm.endedBySignal('SIGKILL');
  t.strictSame(filesUnder(runtime), ['mine.sock'], 'the socket was left behind');

  const next = await runVmm(['run', '--kernel', kernelFile(folder, printing('again')), '--name', 'mine'], {
    env: { COLO_VMM_RUNTIME: runtime },
  });

  t.equal(next.stdout, 'again');
  t.equal(next.code, 0);
  t.strictSame(filesUnder(runtime), []);
});

test('refuses the control socket of a VMM that lives', { skip }, async (t) => {
  const { runtime, folder, vmm } = await start(t, spinning('ready'), 'ready', '--name', 'mine');
  const second = await runVmm(['run', '--kernel', kernelFile(folder, printing('again')), '--name', 'mine'], {
    env: { COLO_VMM_RUNTIME: runtime },
  });
  t.equal(second.code, 1);
  t.match(second.stderr, /^colo-vmm: --control .*mine\.sock: another VMM serves this socket; [^\n]+\n$/);
  t.strictSame(filesUnder(runtime), ['mine.sock'], 'the first one keeps its socket');
  t.equal((await vmm.endedBySignal('SIGTERM')).code, 143);
});

test('ends when the monitor says quit', { skip }, async (t) => {
  const { vmm, runtime } = await start(t, spinning('ready'), 'ready', '--name', 'mine');
  const socket = connect(join(runtime, 'colo-vmm', 'mine.sock'));
  t.teardown(() => socket.destroy());
  socket.on('error', () => {});
  socket.write('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n');
  const ending = await vmm.ended;
  t.equal(ending.code, 0);
  t.match(ending.stderr, /stopped by the monitor/);
});

for (const [what, makeOutput] of [
  ['a socket', () => 'pipe' as const], // what child_process calls a pipe
  [
    'a pipe',
    (folder: string) => {
      execFileSync('mkfifo', [join(folder, 'output')]);
      return openSync(join(folder, 'output'), constants.O_RDWR);
    },
  ],
] as const) {
  test(`answers SIGTERM within a second when its output is ${what} that nobody reads`, { skip }, async (t) => {
    const folder = temporaryFolder(t);
    const kernel = kernelFile(folder, reciting());
    const control = join(folder, 'control');
    const output = makeOutput(folder);
    const child = spawn(
      process.execPath,
      [bundle, 'run', '--kernel', kernel, '--memory', '16M', '--control', control],
      {
        stdio: ['pipe', output, 'ignore'],
      },
    );
    t.teardown(() => {
      child.kill('SIGKILL');
      if (typeof output === 'number') closeSync(output);
    });
    await until(() => existsSync(control));
    await forAWhile(1500); // its output and the ring before it fill up

    const started = performance.now();
    child.kill('SIGTERM');
    const [code] = await once(child, 'exit');
    const tookMs = performance.now() - started;

    t.equal(code, 143);
    t.ok(tookMs < promptMs, `took ${tookMs} ms`);
  });
}

test('goes on when the reader of its output has gone', { skip }, async (t) => {
  const { vmm } = await start(t, reciting(), 'xyz');
  vmm.child.stdout?.destroy();
  await forAWhile(300);
  t.equal(vmm.child.exitCode, null, 'the guest may have other work than printing');
  const ending = await vmm.endedBySignal('SIGTERM');
  t.equal(ending.code, 143);
});

test('prints everything before it ends, however slow the reader', { skip }, async (t) => {
  const text = Array.from({ length: 3000 }, (_, index) => `line ${index}\n`).join('');
  const folder = temporaryFolder(t);
  const kernel = kernelFile(folder, printing(text));
  const reader = spawnSync(
    'sh',
    ['-c', `"$0" "$@" </dev/null | (sleep 0.3; cat)`, process.execPath, bundle, 'run', '--kernel', kernel],
    {
      encoding: 'latin1',
    },
  );
  t.equal(reader.stdout, text);
});

test('takes no end from a standard input that is /dev/null', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const vmm = new VmmProcess(['run', '--kernel', kernelFile(folder, spinning('ready'))], { stdin: 'ignore' });
  await vmm.printed('ready');
  await forAWhile(300);
  t.equal(vmm.child.exitCode, null);
  t.equal((await vmm.endedBySignal('SIGTERM')).code, 143);
});

test('brings a file on standard input to the guest, and does not end with it', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'input'), 'typed before\n');
  const input = openSync(join(folder, 'input'), 'r');
  const vmm = new VmmProcess(['run', '--kernel', kernelFile(folder, echoing())], { stdin: input });
  closeSync(input);
  await vmm.printed('typed before\n');
  await forAWhile(300);
  t.equal(vmm.child.exitCode, null);
  t.equal((await vmm.endedBySignal('SIGTERM')).code, 143);
});

test('goes on after its input has closed with eof=ignore', { skip }, async (t) => {
  const { vmm } = await start(t, echoing(), '', '--serial', 'stdio,eof=ignore');
  vmm.write('hello');
  await vmm.printed('hello');
  vmm.child.stdin?.end();
  await forAWhile(300);
  t.equal(vmm.child.exitCode, null);
  t.equal((await vmm.endedBySignal('SIGTERM')).code, 143);
});

test('carries bytes of every value both ways', { skip }, async (t) => {
  const { vmm } = await start(t, echoing(), '');
  const text = Array.from({ length: 40 * 256 }, (_, index) => String.fromCharCode(index & 0xff))
    .filter((letter) => letter !== 'q')
    .join('');
  vmm.write(`${text}q`);
  const ending = await vmm.ended;
  t.equal(ending.code, 0);
  t.equal(ending.stdout.length, text.length);
  t.ok(ending.stdout === text, 'the same bytes in the same order');
});

test('writes the serial port to a file, behind what is there', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const log = join(folder, 'serial.log');
  writeFileSync(log, 'before\n');
  const ending = await runVmm(['run', '--kernel', kernelFile(folder, printing('after\n')), '--serial', `file=${log}`]);
  t.equal(ending.stdout, '');
  t.equal(readFileSync(log, 'utf8'), 'before\nafter\n');
});

test('drops the serial port when told so', { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const ending = await runVmm(['run', '--kernel', kernelFile(folder, printing('unseen')), '--serial', 'none']);
  t.equal(ending.stdout, '');
  t.equal(ending.code, 0);
});

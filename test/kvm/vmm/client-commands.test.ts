import { chmodSync, cpSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Test as TapTest, test } from 'tap';
import { echoing, spinning } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { forAWhile } from '../../support/machines.ts';
import { RawClient } from '../../support/qmp-client.ts';
import { bundle, type Ending, kernelFile, runVmm, temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm();

type Test = Parameters<typeof temporaryFolder>[0];

/** A place for machines of its own, and what the command line says there. */
class Place {
  readonly folder: string;
  readonly #test: Test;

  constructor(t: Test) {
    this.#test = t;
    this.folder = temporaryFolder(t);
  }

  get env(): NodeJS.ProcessEnv {
    return { COLO_VMM_RUNTIME: this.folder };
  }

  /** A machine that runs. */
  async start(code: Uint8Array, ...args: readonly string[]): Promise<VmmProcess> {
    const kernel = kernelFile(this.folder, code);
    const vmm = new VmmProcess(['run', '--kernel', kernel, '--memory', '16M', ...args], { env: this.env });
    this.#test.teardown(() => vmm.child.kill('SIGKILL'));
    await vmm.printed('ready');
    return vmm;
  }

  say(...args: readonly string[]): Promise<Ending> {
    return runVmm(args, { env: this.env });
  }
}

/** One sentence on standard error, and nothing else. */
function complains(t: TapTest, { code, stdout, stderr }: Ending, says: RegExp): void {
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /^colo-vmm: [^\n]+\n$/, 'one line');
  t.match(stderr, says);
}

test('tells a person and a program about a machine', { skip }, async (t) => {
  const place = new Place(t);
  const disk = join(place.folder, 'disk.img');
  writeFileSync(disk, new Uint8Array(65_536));
  const vmm = await place.start(spinning('ready'), '--name', 'mine', '--cpus', '2', '--disk', `path=${disk},id=root`);
  const table = await place.say('status');
  t.equal(table.code, 0);
  t.equal(table.stderr, '');
  for (const line of [
    /^name +mine$/m,
    /^state +running$/m,
    /^vCPUs +2$/m,
    /^memory +16 MiB$/m,
    /^disk root +.*disk\.img, 64 KiB$/m,
  ]) {
    t.match(table.stdout, line);
  }
  const { stdout } = await place.say('status', '--vm', 'mine', '--json');
  t.match(JSON.parse(stdout), {
    name: 'mine',
    state: 'running',
    pid: vmm.pid,
    cpus: 2,
    memoryBytes: 16 << 20,
    disks: [{ id: 'root', path: disk, sizeBytes: 65_536, readOnly: false, ioStatus: 'ok' }],
    cards: [],
    control: join(place.folder, 'colo-vmm', 'mine.sock'),
  });
});

test('pauses a machine and lets it go on', { skip }, async (t) => {
  const place = new Place(t);
  const vmm = await place.start(echoing('ready'), '--name', 'mine');
  t.equal((await place.say('pause')).stdout, 'machine mine is paused\n');
  t.strictSame(JSON.parse((await place.say('pause', '--json')).stdout), {
    name: 'mine',
    pid: vmm.pid,
    state: 'paused',
  });
  vmm.write('x');
  await forAWhile(200);
  t.equal(vmm.stdout, 'ready', 'it stands still');
  t.equal((await place.say('resume')).stdout, 'machine mine is running\n');
  await vmm.printed('readyx');
});

test('ends a machine whose guest does not listen, after the time it was given', { skip }, async (t) => {
  const place = new Place(t);
  const vmm = await place.start(spinning('ready'));
  const { code, stdout } = await place.say('stop', '--timeout', '0.3');
  t.equal(code, 0);
  t.equal(stdout, 'the guest did not shut down within 0.3 s\nthe machine was ended without its guest\n');
  const ending = await vmm.ended;
  t.equal(ending.code, 0);
  t.match(ending.stderr, /stopped by the monitor/);
});

test('ends a machine at once when it is forced, also one that is paused', { skip }, async (t) => {
  const place = new Place(t);
  const vmm = await place.start(spinning('ready'));
  await place.say('pause');
  complains(t, await place.say('stop'), /the machine is paused, and its guest cannot shut down; resume it first, or/);
  const { stdout } = await place.say('stop', '--force', '--json');
  t.strictSame(JSON.parse(stdout), { ended: true, reason: 'host-qmp-quit' });
  t.equal((await vmm.ended).code, 0);
});

test('lets a guest that shuts down itself do so', { skip }, async (t) => {
  const place = new Place(t);
  const vmm = await place.start(echoing('ready'), '--name', 'mine');
  const witness = await new RawClient(t, join(place.folder, 'colo-vmm', 'mine.sock')).begin();
  const stop = place.say('stop', '--timeout', '60');
  t.match(await witness.next(), { event: 'POWERDOWN' });
  vmm.write('q'); // as a guest does that heeds its power button
  t.equal((await stop).stdout, 'the guest shut down\n');
  t.equal((await vmm.ended).code, 0);
});

test('resets a machine, which runs on as a new one', { skip }, async (t) => {
  const place = new Place(t);
  const vmm = await place.start(echoing('ready'), '--name', 'mine');
  t.equal((await place.say('reset')).stdout, 'machine mine was reset, and is running\n');
  await vmm.printed('readyready');
  t.strictSame(JSON.parse((await place.say('reset', '--json')).stdout), {
    name: 'mine',
    pid: vmm.pid,
    state: 'running',
    reset: true,
  });
  await vmm.printed('readyreadyready');
});

test('resets a machine, which ends it if that is wanted', { skip }, async (t) => {
  const place = new Place(t);
  const vmm = await place.start(spinning('ready'), '--reboot', 'exit');
  const { code, stdout } = await place.say('reset');
  t.equal(code, 0);
  t.equal(stdout, 'the machine was reset, which ends it with exit code 3\n');
  const ending = await vmm.ended;
  t.equal(ending.code, 3);
  t.match(ending.stderr, /^colo-vmm: reset by the monitor$/m);
});

test('says so when it is not clear which machine is meant', { skip }, async (t) => {
  const place = new Place(t);
  for (const command of ['status', 'pause', 'resume', 'stop', 'reset']) {
    complains(t, await place.say(command), /: no machine runs; start one with colo-vmm run/);
  }
  await place.start(spinning('ready'), '--name', 'one');
  await place.start(spinning('ready'), '--name', 'two');
  complains(t, await place.say('stop'), /: several machines run; say which with --vm: one, two/);
  complains(
    t,
    await place.say('stop', '--vm', 'three'),
    /: --vm three: no machine of that name runs; there are one, two/,
  );
  complains(t, await place.say('stop', '--timeout', 'soon'), /: --timeout soon: give a number of seconds/);
  complains(t, await place.say('status', '--control', '/no/such'), /: \/no\/such: there is no such socket/);
  complains(t, await place.say('status', '--speed', '9'), /unknown option '--speed'/);
});

test('gives up on a VMM that hangs', { skip }, async (t) => {
  const place = new Place(t);
  const vmm = await place.start(spinning('ready'), '--name', 'mine');
  vmm.child.kill('SIGSTOP');
  complains(
    t,
    await place.say('status'),
    /mine\.sock: no answer within 0\.9 s; its VMM hangs, waits for its disks, or was stopped/,
  );
  vmm.child.kill('SIGCONT');
  t.equal((await place.say('status')).code, 0);
});

const noOtherUser = process.getuid?.() === 0 ? false : 'only root can run it as another user';

test("says that a machine is another user's", { skip: skip || noOtherUser }, async (t) => {
  const place = new Place(t);
  await place.start(spinning('ready'), '--name', 'mine');
  const control = join(place.folder, 'colo-vmm', 'mine.sock');
  const readable = temporaryFolder(t);
  cpSync(dirname(bundle), readable, { recursive: true });
  chmodSync(readable, 0o755);
  const program = join(readable, basename(bundle));
  const { code, stderr } = await runVmm(['status', '--control', control], { uid: 65_534, program });
  t.equal(code, 1);
  // What may follow is node-tap's, which cannot write its files as that user.
  t.match(stderr, /^colo-vmm: [^\n]+mine\.sock: no permission; the machine belongs to another user\n/);
});

import { readFile } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import type { Test } from 'tap';
import { CommandTimeoutError, HostGoneError, LabError } from '../../../tools/lab/errors.ts';
import type { Host } from '../../../tools/lab/host.ts';
import { type Lab, startLab } from '../../../tools/lab/lab.ts';
import type { LabMode } from '../../../tools/lab/mode.ts';

/** Times in here are multiplied by this: emulated hosts are slow. */
const factorOf = { native: 1, emulated: 10 } as const;

const scratchBytes = 16 * 1024 * 1024;

/**
 * What every lab must do, whatever its hosts are made of. Two hosts, ordinary commands; `source` is a small file to have
 * in them.
 */
export async function labContract(t: Test, mode: LabMode, source: string): Promise<void> {
  const factor = factorOf[mode];
  const lab: Lab = await startLab({
    hosts: 2,
    outside: true,
    mode,
    files: [{ source, path: '/opt/given', mode: 0o640 }],
    disks: [{ source }, { sizeBytes: scratchBytes }],
  });
  t.teardown(() => lab.close());
  const [first, second] = lab.hosts as [Host, Host];
  const reaches = async () => {
    const { status } = await first.run(['ping', '-c', '1', '-W', String(factor), String(second.address)]);
    return status === 0;
  };

  await t.test('a command gives its output and its status', async (t) => {
    const result = await first.run('cat; echo oops >&2; exit 3', { stdin: 'words' });
    t.match(result, { status: 3, signal: null, stdout: 'words', stderr: 'oops\n' });
    t.match(await first.run(['echo', "it's", 'two words']), { stdout: "it's two words\n" });
    t.match(await first.run('pwd; echo $X', { cwd: '/opt', env: { X: 'y' } }), { stdout: '/opt\ny\n' });
  });

  await t.test('output comes while the command still runs, and it can be answered', async (t) => {
    const child = first.spawn(['cat']);
    const output = child.stdout.setEncoding('utf8');
    for (const word of ['one', 'two']) {
      child.stdin.write(word);
      const [heard] = (await new Promise((resolve) => output.once('data', (...heard) => resolve(heard)))) as string[];
      t.equal(heard, word);
    }
    child.stdin.end();
    t.same(await child.exit, { status: 0, signal: null });
  });

  await t.test('several commands run at a time', async (t) => {
    const waiting = first.spawn(['cat']);
    t.match(await first.run(['hostname']), { stdout: 'host1\n' });
    t.match(await second.run(['hostname']), { stdout: 'host2\n' });
    waiting.stdin.end();
    t.match(await waiting.exit, { status: 0 });
  });

  await t.test('a command can have a terminal', async (t) => {
    const child = first.spawn('test -t 0 && test -t 1 && echo yes', { terminal: true });
    const heard = child.stdout.pipe(new PassThrough()).setEncoding('utf8');
    await child.exit;
    t.equal(String(heard.read()).trim(), 'yes');
  });

  await t.test('a kill reaches a command and what it started', async (t) => {
    const child = first.spawn('sleep 1000 & sleep 1000');
    child.kill('SIGTERM');
    t.same(await child.exit, { status: null, signal: 'SIGTERM' });
    // What it started gets the signal as well, and may take a moment to die of it.
    const count = "ps ax -o args | grep -c '^sleep 1000'";
    const left = `for try in $(seq 50); do ${count} >/dev/null || break; sleep 0.1; done; ${count}`;
    t.equal((await first.run(left)).stdout, '0\n');
  });

  await t.test('a command that takes too long is killed, what it said is kept', async (t) => {
    const error = await first
      .run('echo said; sleep 1000', { timeoutMs: 300 * factor })
      .catch((error: unknown) => error);
    t.ok(error instanceof CommandTimeoutError);
    t.match(error, { stdout: 'said\n' });
  });

  await t.test('a command that does not exist is an error with its name', async (t) => {
    await t.rejects(first.run(['no-such-command']), /no-such-command/);
  });

  await t.test('files come and go whole', async (t) => {
    const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => (index * 31) & 0xff));
    await first.push(bytes, '/opt/a/b/c', 0o755);
    t.ok((await first.pull('/opt/a/b/c')).equals(bytes));
    t.match(await first.run(['stat', '-c', '%a', '/opt/a/b/c']), { stdout: '755\n' });
    t.match(await second.run(['stat', '-c', '%a', '/opt/given']), { stdout: '640\n' });
    t.equal((await second.run(['test', '-e', '/opt/a'])).status, 1, 'hosts share no files');
    await t.rejects(first.pull('/no/such/file'), /no\/such\/file.*ENOENT/);
    await t.rejects(first.push(bytes, '/proc/no-such-file'), /proc/);
  });

  await t.test('the hosts have what a VMM needs', async (t) => {
    t.match(await first.run('node --version'), { stdout: `${process.version}\n` });
    t.match(await first.run('test -c /dev/net/tun && test -s /boot/vmlinuz'), { status: 0 });
    t.match(await first.run('qemu-system-x86_64 --version'), { stdout: /version 7\.2/ });
    t.match(await first.run('ip tuntap add t0 mode tap && ip link add br9 type bridge && ip link del t0'), {
      status: 0,
    });
  });

  await t.test('the machine outside is on their network, and is none of them', async (t) => {
    const { outside } = lab;
    t.match(await outside.run(['hostname']), { stdout: 'outside\n' });
    t.equal((await outside.run(['test', '-e', '/opt/given'])).status, 1, 'it has no files of hosts');
    t.same(outside.disks, []);
    const ping = (host: Host, patienceS = 10) =>
      outside.run(['ping', '-c', '1', '-W', String(patienceS * factor), String(host.address)]);
    for (const host of lab.hosts) t.equal((await ping(host)).status, 0, host.name);
    await lab.network.cut({ from: 'outside', to: 'host2' });
    t.equal((await ping(first)).status, 0, 'its links are cut one by one');
    t.not((await ping(second, 1)).status, 0);
    t.ok(await reaches());
    await lab.network.restore();
    t.equal((await ping(second)).status, 0);
  });

  await t.test('a link is cut and restored', async (t) => {
    t.ok(await reaches());
    await lab.network.cut({ from: 'host1', to: 'host2' });
    t.notOk(await reaches());
    await lab.network.restore();
    t.ok(await reaches());
    await t.rejects(lab.network.cut({ from: 'host7' }), /host7/);
  });

  await t.test('a link is degraded', async (t) => {
    try {
      await lab.network.degrade({ from: 'host1', to: 'host2', oneWay: true }, { delayMs: 300 });
    } catch (error) {
      if (!(error instanceof LabError)) throw error;
      t.pass('', { skip: error.message });
      return;
    }
    const { stdout } = await first.run(['ping', '-c', '2', String(second.address)]);
    t.ok(Number(/time=([\d.]+) ms\s*$/m.exec(stdout)?.[1]) >= 300, stdout);
    await lab.network.restore();
    t.ok(await reaches());
  });

  await t.test('a host that hangs is silent, and goes on where it was', async (t) => {
    const counter = second.spawn('n=0; while :; do echo $n; n=$((n + 1)); sleep 0.1; done');
    let heard = 0;
    counter.stdout.on('data', () => heard++);
    await new Promise((resolve) => setTimeout(resolve, 300 * factor));
    await second.hang();
    t.equal(second.state, 'hung');
    await new Promise((resolve) => setTimeout(resolve, 200));
    const atHang = heard;
    t.ok(atHang > 0);
    t.notOk(await reaches());
    t.equal(heard, atHang);
    await second.unhang();
    t.ok(await reaches());
    await new Promise((resolve) => setTimeout(resolve, 300 * factor));
    t.ok(heard > atHang);
    counter.kill();
    await counter.exit;
  });

  await t.test('a host without power is gone, and comes back empty', async (t) => {
    await second.run('touch /opt/mark');
    const running = second.spawn('sleep 1000');
    await second.powerLoss();
    await t.rejects(running.exit, HostGoneError);
    await t.rejects(second.run('true'), HostGoneError);
    t.notOk(await reaches());
    await second.powerOn();
    t.ok(await reaches());
    t.match(await second.run('ls /opt'), { stdout: 'given\n' });
  });

  await t.test('a disk is a copy of its own, and keeps what is written over a power loss', async (t) => {
    const [copy = '', scratch = ''] = second.disks;
    const given = await readFile(source, 'utf8');
    const head = `head -c ${given.length}`;
    const sizes = await second.run(['blockdev', '--getsize64', scratch]);
    t.match(sizes.status === 0 ? sizes : await second.run(['stat', '-Lc', '%s', scratch]), {
      stdout: `${scratchBytes}\n`,
    });
    t.equal((await second.run(`${head} ${copy}`)).stdout, given);
    const written = await second.run(`printf 'other' | dd of=${copy} conv=notrunc,fsync`);
    t.equal(written.status, 0, written.stderr);
    const mount = `mkdir -p /mnt/scratch && mount ${mode === 'native' ? '-o loop' : ''} ${scratch} /mnt/scratch`;
    const made = await second.run(
      `mke2fs -q -t ext4 -F ${scratch} && ${mount} && echo kept > /mnt/scratch/file && sync`,
    );
    t.match(made, { status: 0, stderr: '' });
    await second.powerLoss();
    await second.powerOn();
    t.equal((await second.run(`head -c 5 ${copy}`)).stdout, 'other');
    t.match(await second.run(`${mount} && cat /mnt/scratch/file && umount /mnt/scratch`), {
      stdout: 'kept\n',
      stderr: '',
    });
    t.equal((await first.run(`${head} ${first.disks[0]}`)).stdout, given, 'the other host has its own');
    t.equal(await readFile(source, 'utf8'), given, 'the source is as it was');
  });

  t.equal(lab.failure, undefined);
}

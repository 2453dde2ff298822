import { createHash } from 'node:crypto';
import t from 'tap';
import { labHost, patienceMs, startGuest } from '../support/lab-guest.ts';

t.test('the serial console of a Linux guest', { timeout: 0 }, async (t) => {
  const { lab, host } = await labHost(t);

  await t.test('carries all that four vCPUs print at once', async (t) => {
    const guest = startGuest(lab, host, { cpus: 4 });
    await guest.session.login(patienceMs);
    const lines = 50;
    const writer = (cpu: number): string =>
      `(i=0; while [ $i -lt ${lines} ]; do echo "cpu${cpu} line $i."; i=$((i + 1)); done > /dev/console) &`;
    const output = await guest.session.run(
      `${[0, 1, 2, 3].map((cpu) => `taskset ${1 << cpu} sh -c '${writer(cpu)} wait'`).join(' & ')} & wait; sleep 2`,
      patienceMs,
    );
    for (const cpu of [0, 1, 2, 3]) {
      const seen = [...output.matchAll(new RegExp(`cpu${cpu} line (\\d+)\\.`, 'g'))].map((match) => Number(match[1]));
      t.same(
        seen,
        Array.from({ length: lines }, (_, index) => index),
        `vCPU ${cpu}: every line, once, in order`,
      );
    }
    guest.session.type('poweroff -f');
    t.equal((await guest.ended()).status, 0);
  });

  await t.test('takes input faster than the guest reads it', async (t) => {
    const guest = startGuest(lab, host);
    await guest.session.login(patienceMs);
    const lines = Array.from({ length: 400 }, (_, index) => `line ${index} ${'x'.repeat(60)}`);
    const text = `${lines.join('\n')}\n`;
    // No echo: the guest is to do nothing but read.
    const sum = guest.session.run(`stty -echo; head -n ${lines.length} | md5sum; stty echo`, patienceMs);
    setTimeout(() => guest.process.stdin.write(text), 5000);
    t.match(await sum, createHash('md5').update(text).digest('hex'));
    guest.session.type('poweroff -f');
    t.equal((await guest.ended()).status, 0);
  });

  await t.test('goes to a file, and the guest does not notice', async (t) => {
    const guest = startGuest(lab, host, { flags: ['--serial', 'file=/tmp/console.log', '--name', 'to-file'] });
    const deadline = Date.now() + patienceMs;
    let log = '';
    while (!log.includes('guest# ') && Date.now() < deadline) {
      log = (await host.run('sleep 1; cat /tmp/console.log 2>/dev/null', { timeoutMs: patienceMs })).stdout;
    }
    t.match(log, /guest: init[\s\S]*guest# /);
    guest.process.kill('SIGTERM');
    t.equal((await guest.ended()).status, 143);
  });

  t.equal(lab.failure, undefined, 'the lab itself was sound');
});

t.test('a running Linux guest is ended from outside', { timeout: 0 }, async (t) => {
  const { lab, host } = await labHost(t);
  // In an emulated host a second of ours is about ten of a machine's.
  const limitMs = lab.mode === 'emulated' ? 10_000 : 1_000;
  const ends = [
    { by: 'SIGTERM', end: (kill: (signal: NodeJS.Signals) => void) => kill('SIGTERM'), status: 143 },
    { by: 'SIGINT', end: (kill: (signal: NodeJS.Signals) => void) => kill('SIGINT'), status: 130 },
    { by: 'the end of its input', end: undefined, status: 129 },
  ] as const;
  for (const { by, end, status } of ends) {
    await t.test(`by ${by}, within a second of a machine's`, async (t) => {
      const guest = startGuest(lab, host, { cpus: 4 });
      await guest.session.login(patienceMs);
      guest.session.type('while :; do :; done & while :; do :; done & while :; do :; done');
      await new Promise((resolve) => setTimeout(resolve, 3000));
      const start = performance.now();
      if (end === undefined) guest.process.stdin.end();
      else end((signal) => guest.process.kill(signal));
      const result = await guest.ended();
      const elapsedMs = performance.now() - start;
      t.equal(result.status, status);
      t.ok(elapsedMs < limitMs, `${elapsedMs.toFixed(0)} ms`);
      t.equal((await host.run('ls /run/colo-vmm | wc -l')).stdout.trim(), '0', 'no control socket is left');
      t.equal((await host.run(`pgrep -f 'colo-vmm[.]cjs' | wc -l`)).stdout.trim(), '0', 'no process is left');
    });
  }
  t.equal(lab.failure, undefined, 'the lab itself was sound');
});

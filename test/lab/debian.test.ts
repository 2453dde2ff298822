import t, { type Test } from 'tap';
import { debianHost, guestNetwork, startDebian } from '../support/debian-guest.ts';
import { patienceMs } from '../support/lab-guest.ts';

const { guestAddress } = guestNetwork;

const skip = process.getuid?.() === 0 ? false : 'the image is made by the scripts of its packages: run as root';

t.test('a Debian with systemd runs from its disk and serves', { timeout: 0, skip }, async (t) => {
  const { lab, host } = await debianHost(t);
  const isWhole = async (t: Test) => {
    const { status, stdout, stderr } = await host.run(`e2fsck -f -n ${host.disks[0]}`, { timeoutMs: patienceMs });
    t.equal(status, 0, `e2fsck: ${stdout}${stderr}`);
    // After a power loss it would still say 0, having skipped the journal and what that explains.
    t.notMatch(`${stdout}${stderr}`, /recover|Fix\?/, 'it was unmounted, and nothing is to be mended');
  };
  const redis = async (command: string) => {
    const { stdout, stderr } = await host.run(`redis-cli -h ${guestAddress} ${command}`, { timeoutMs: patienceMs });
    return stdout.trim() || stderr;
  };
  const began = performance.now();
  const tell = (what: string) => t.comment(`${((performance.now() - began) / 1000).toFixed(1)} s: ${what}`);

  await t.test('with the cloud kernel', { timeout: 0 }, async (t) => {
    const guest = startDebian(lab, host, 'cloud');
    t.match(await guest.webPage(), /Welcome to nginx/, 'curl gets a page from nginx');
    tell('cloud kernel: nginx answers');
    await guest.session.login(patienceMs);
    tell('cloud kernel: root is logged in');
    t.match(await guest.session.run('uname -r', patienceMs), /cloud-amd64$/);
    const address = await guest.session.run(
      'ip -4 -o address show dev "$(ls /sys/class/net | grep -v lo)"',
      patienceMs,
    );
    t.match(address, new RegExp(`inet ${guestAddress}/24 .*dynamic`), 'its address came by DHCP');
    await t.resolves(guest.session.run('systemctl is-system-running --wait', patienceMs), 'no unit has failed');
    tell('cloud kernel: all units are up');

    t.equal(await redis('set kept "through the night"'), 'OK');
    t.equal(await redis('get kept'), 'through the night');
    const bench = await host.run(`redis-benchmark -h ${guestAddress} -q -n 1000 -c 10 -t set,get,incr`, {
      timeoutMs: patienceMs,
    });
    for (const name of ['SET', 'GET', 'INCR']) {
      t.match(bench.stdout, new RegExp(`${name}: [1-9][\\d.]* requests per second`));
    }
    tell('cloud kernel: redis-benchmark is done');

    await guest.pressPower();
    const { status, report } = await guest.ended();
    t.equal(status, 0, report);
    tell('cloud kernel: off');
    await isWhole(t);
  });

  await t.test('with the generic kernel, where the data still is', { timeout: 0 }, async (t) => {
    const guest = startDebian(lab, host, 'generic');
    t.match(await guest.webPage(), /Welcome to nginx/);
    tell('generic kernel: nginx answers');
    await guest.session.login(patienceMs);
    t.match(await guest.session.run('uname -r', patienceMs), /^[\d.-]+-amd64$/);
    t.equal(await redis('get kept'), 'through the night');
    await guest.pressPower();
    const { status, report } = await guest.ended();
    t.equal(status, 0, report);
    tell('generic kernel: off');
    await isWhole(t);
  });

  t.equal(lab.failure, undefined, 'the lab itself was sound');
});

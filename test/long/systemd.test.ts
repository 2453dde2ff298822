import t from 'tap';
import { SystemdHosts, units } from '../support/systemd-hosts.ts';

const skip = process.getuid?.() === 0 ? false : 'the image is made by the scripts of its packages: run as root';

t.test(
  'the units have systemd start a pair at boot, and do with it what an operator wants',
  {
    timeout: 0,
    skip,
  },
  async (t) => {
    const hosts = await SystemdHosts.make(t);
    const began = performance.now();
    const tell = (what: string) => t.comment(`${((performance.now() - began) / 1000).toFixed(1)} s: ${what}`);
    let asked = 0;
    const serves = async (): Promise<void> => {
      t.strictSame(await hosts.serves(5, asked), [], 'what clients are told is right');
      asked += 1_000_000;
    };

    t.equal(await hosts.sh('a', `readlink /proc/1/exe`), '/usr/lib/systemd/systemd', 'systemd is process 1');
    for (const unit of Object.values(units)) {
      t.equal(await hosts.sh('a', `systemd-analyze verify --man=no ${unit}.service 2>&1`), '', `${unit} is in order`);
    }
    await hosts.sh('a', `systemctl enable ${units.run}`);
    await hosts.sh('b', `systemctl enable ${units.standby}`);
    tell('set up');

    await hosts.powerCycle('a', 'b');
    await hosts.says('a', 'PROTECTED');
    await hosts.says('b', 'PROTECTING');
    await serves();
    tell('protected at boot');

    await hosts.sh('a', `kill -9 $(systemctl show -P MainPID ${units.run})`);
    t.match(
      await hosts.ended('a', units.run),
      { ActiveState: 'failed', Result: 'signal', ExecMainStatus: '9' },
      'the crash is told',
    );
    t.match(await hosts.says('b', 'UNPROTECTED'), { term: 2 }, 'the standby goes on');
    await serves();
    t.match(await hosts.ended('a', units.run), { ActiveState: 'failed', NRestarts: '0' }, 'nobody starts it again');
    t.match(await hosts.journal('b', units.standby), /goes on/);
    tell('taken over');

    await hosts.powerCycle('a');
    const refused = await hosts.ended('a', units.run);
    t.match(refused, { ActiveState: 'failed', Result: 'exit-code', ExecMainStatus: '1', NRestarts: '0' });
    t.match(await hosts.journal('a', units.run), /taken over since, and runs the guest/, 'and says why');
    await serves();
    tell('the host that was lost has booted');

    await hosts.sh('a', `systemctl disable ${units.run} && systemctl enable --now ${units.standby}`);
    await hosts.says('b', 'PROTECTED');
    await hosts.says('a', 'PROTECTING');
    tell('protected again');

    await hosts.sh('a', `systemctl stop ${units.standby}`);
    t.match(await hosts.ended('a', units.standby), {
      ...{ ActiveState: 'inactive', Result: 'success', ExecMainCode: '1', ExecMainStatus: '143' },
    });
    await hosts.says('b', 'UNPROTECTED');
    await serves();
    tell('the standby was stopped');

    await hosts.sh('b', `systemctl disable ${units.standby} && systemctl enable ${units.run}`);
    await hosts.endEtcd();
    await hosts.powerCycle('a', 'b');
    const tries = await hosts.sh(
      'b',
      `for try in $(seq 120); do
[ $(systemctl show -P NRestarts ${units.run}) = 0 ] || break
sleep 0.5
done
systemctl show -P NRestarts ${units.run}`,
    );
    t.not(tries, '0', 'an arbiter that is later than the host is asked again');
    await hosts.startEtcd();
    await hosts.says('b', 'PROTECTED');
    await hosts.says('a', 'PROTECTING');
    await serves();
    tell('protected at boot, with roles changed');

    await hosts.sh('b', `systemctl stop ${units.run}`);
    for (const [side, unit] of [
      ['a', units.standby],
      ['b', units.run],
    ] as const) {
      t.match(
        await hosts.ended(side, unit),
        { ActiveState: 'inactive', Result: 'success', ExecMainCode: '1', ExecMainStatus: '0' },
        `the guest is shut down, and host ${side} knows it`,
      );
    }
    t.match(await hosts.journal('b', units.run), /guest: the power button/, "the guest's console is in the journal");
    tell('the guest was shut down');
    t.equal(hosts.lab.failure, undefined, 'the lab itself was sound');
  },
);

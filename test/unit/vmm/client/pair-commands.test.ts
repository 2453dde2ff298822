import { join } from 'node:path';
import { type Test, test } from 'tap';
import { statusCommand } from '../../../../src/vmm/client/client-commands.ts';
import {
  backupCommand,
  checkpointCommand,
  eventsCommand,
  failoverCommand,
  newerThan,
  protectCommand,
  switchoverCommand,
  unprotectCommand,
} from '../../../../src/vmm/client/pair-commands.ts';
import type { ColoEvent, ColoTopic } from '../../../../src/vmm/monitor/colo-control.ts';
import { ControlSocket } from '../../../../src/vmm/monitor/control-socket.ts';
import { Monitor } from '../../../../src/vmm/monitor/monitor.ts';
import { FakeColo, protectedStatus } from '../../../support/fake-colo.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

process.env.TZ = 'UTC';

/** A machine in a pair that others can talk to. */
class Served {
  readonly machine = new FakeMachine();
  readonly colo = new FakeColo();
  readonly control: string;
  readonly #socket: ControlSocket;

  private constructor(control: string, socket: ControlSocket) {
    this.control = control;
    this.#socket = socket;
    socket.serve(new Monitor(this.machine, { colo: this.colo, name: 'web' }));
  }

  static async start(t: Test): Promise<Served> {
    const control = join(temporaryFolder(t), 'control');
    const served = new Served(control, await ControlSocket.claim(control));
    t.teardown(() => served.end());
    return served;
  }

  /** The VMM ends, and tells its clients. */
  end(): void {
    this.machine.powerOff();
    this.#socket.close();
  }
}

/** Has what is printed go into `lines` instead, until the function that is returned is called. */
function capture(lines: string[]): () => void {
  const { write } = process.stdout;
  process.stdout.write = ((text: string) => {
    lines.push(...text.trimEnd().split('\n'));
    return true;
  }) as typeof write;
  return () => {
    process.stdout.write = write;
  };
}

/** Runs a command; what it printed, and why it failed, if it did. `meanwhile` sees what it has printed so far. */
async function outcome(
  command: () => Promise<void>,
  meanwhile: (lines: readonly string[]) => Promise<void> = async () => {},
): Promise<{ lines: string[]; error: string | undefined }> {
  const lines: string[] = [];
  const release = capture(lines);
  let error: string | undefined;
  try {
    const running = command();
    running.catch(() => {});
    await meanwhile(lines);
    await running;
  } catch (caught) {
    error = (caught as Error).message;
  } finally {
    release();
  }
  return { lines, error };
}

/** Resolves when `condition` holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

const event = (monotonicMs: number, text: string, topic: ColoTopic = 'pair'): ColoEvent => ({
  at: Date.UTC(2026, 10, 28, 16, 0, 0) + monotonicMs,
  monotonicMs,
  topic,
  text,
});

const options = { standby: 'b:7000', arbiter: 'manual', insecure: true };

test('orders are given to the pair', async (t) => {
  const { colo, control } = await Served.start(t);
  t.strictSame(await outcome(() => checkpointCommand({ control })), {
    lines: ['a checkpoint is being made'],
    error: undefined,
  });
  await outcome(() => unprotectCommand({ control }));
  await outcome(() => failoverCommand({ control }));
  const { lines } = await outcome(() => failoverCommand({ control, iAmSure: true, json: true }));
  t.strictSame(JSON.parse(lines.join()), protectedStatus, 'for programs: where the pair is');
  t.strictSame(colo.asked, [
    { name: 'checkpoint' },
    { name: 'unprotect' },
    { name: 'failover', sure: false },
    { name: 'failover', sure: true },
  ]);
});

test('a refusal is the error', async (t) => {
  const { colo, control } = await Served.start(t);
  colo.refusal = 'the standby is well: nothing has failed. To end protection: unprotect';
  t.match((await outcome(() => failoverCommand({ control }))).error, /the standby is well: nothing has failed/);
});

test('protect stays until the guest is protected, and says what is done', async (t) => {
  const { colo, control } = await Served.start(t);
  const pairing = { ...protectedStatus, headline: 'PAIRING', phase: 'synchronising' } as const;
  colo.current = undefined;
  const how = { listen: '0.0.0.0:7000', mode: 'comparing', flow: ['port=443,policy=buffer'] };
  const { lines, error } = await outcome(
    () => protectCommand({ ...options, ...how, control, tls: 'dir=keys', detection: '400', checkpointDelay: '900' }),
    async (shown) => {
      await until(() => colo.asked.length > 0);
      colo.happen(event(1, 'connected to b'));
      const synchronising = { totalBytes: 1000, comparedBytes: 419, sentBytes: 0 };
      colo.current = { ...pairing, disk: { logBytes: 0, synchronising } };
      await until(() => shown.length > 1);
      colo.current = protectedStatus;
    },
  );
  t.equal(error, undefined);
  t.strictSame(lines, ['16:00:00.001  pair        connected to b', 'disks: 40 % of 1000 B compared']);
  t.strictSame(colo.asked, [
    { ...options, ...how, tls: `dir=${join(process.cwd(), 'keys')}`, detectionMs: 400, checkpointDelayMs: 900 },
  ]);
});

test('protect fails with the reason why the guest is not protected', async (t) => {
  const { colo, control } = await Served.start(t);
  const why = 'the standby cannot take over this machine: its processor lacks avx512f';
  colo.current = {
    ...protectedStatus,
    headline: 'UNPROTECTED',
    why: 'it has not been protected yet',
    phase: 'connecting',
  };
  const { error } = await outcome(
    () => protectCommand({ ...options, control }),
    async () => {
      await until(() => colo.asked.length > 0);
      colo.current = { ...protectedStatus, headline: 'UNPROTECTED', why, phase: 'unprotected' };
    },
  );
  t.equal(error, `the machine is not protected: ${why}`);
});

test('protect does not outlast the machine', async (t) => {
  const served = await Served.start(t);
  served.colo.current = undefined;
  const { error } = await outcome(
    () => protectCommand({ ...options, control: served.control }),
    async () => {
      await until(() => served.colo.asked.length > 0);
      served.end();
    },
  );
  t.match(error, /the machine has ended|the QMP connection ended/);
});

for (const [flags, message] of [
  [{ arbiter: 'manual' }, /^--standby is missing/],
  [{ standby: 'b:7000' }, /^--arbiter is missing: .*which one goes on/],
  [{ ...options, detection: 'soon' }, /^--detection soon: give a number of milliseconds$/],
  [{ ...options, checkpointDelay: '-1' }, /^--checkpoint-delay -1: give a number/],
] as const) {
  test(`protect refuses ${JSON.stringify(flags)}`, async (t) => {
    t.match((await outcome(() => protectCommand(flags))).error, message);
  });
}

/** A machine whose roles are to be changed, which answers; then `meanwhile`, and it ends. */
async function switchedOver(
  t: Test,
  meanwhile: (served: Served) => Promise<void> | void,
): Promise<{ lines: string[]; error: string | undefined }> {
  const served = await Served.start(t);
  return outcome(
    () => switchoverCommand({ control: served.control }),
    async () => {
      await until(() => served.colo.asked.length > 0);
      await meanwhile(served);
      served.end();
    },
  );
}

const handedOver: ColoEvent = { ...event(1, 'HANDED OVER to b', 'protection'), event: 'switchover' };

test('switchover stays until the guest was handed over and the machine has ended, and says so', async (t) => {
  const done = { lines: ['the guest runs on the other host; here it has ended'], error: undefined };
  t.strictSame(await switchedOver(t, ({ colo }) => colo.happen(handedOver)), done, 'it was told');
  const seen = await switchedOver(t, async ({ colo }) => {
    colo.current = { ...protectedStatus, headline: 'ENDED', phase: 'handed-over' };
    const answered = colo.answers + 2;
    await until(() => colo.answers >= answered);
  });
  t.strictSame(seen, done, 'it has seen so');
});

for (const phase of ['protected', 'handing-over', 'ended'] as const) {
  test(`switchover fails if the machine is gone, and was ${phase} last`, async (t) => {
    const { lines, error } = await switchedOver(t, async ({ colo }) => {
      colo.current = { ...protectedStatus, phase };
      const answered = colo.answers + 2;
      await until(() => colo.answers >= answered);
    });
    t.strictSame(lines, []);
    t.equal(error, 'the machine has ended before the roles were changed; see colo-vmm status on the other host');
  });
}

test('switchover fails if protection ends instead', async (t) => {
  const { error } = await switchedOver(t, async ({ colo }) => {
    colo.current = { ...protectedStatus, headline: 'UNPROTECTED', why: 'b fell silent', phase: 'unprotected' };
    const answered = colo.answers + 1;
    await until(() => colo.answers >= answered);
  });
  t.equal(error, 'the roles were not changed: b fell silent; see colo-vmm status');
});

test("an arbiter's files are those of whoever types the command", async (t) => {
  const { colo, control } = await Served.start(t);
  const here = (name: string): string => join(process.cwd(), name);
  await outcome(() =>
    protectCommand({ ...options, control, arbiter: 'etcd:https://c:2379,prefix=/x/,cacert=ca.pem,password-file=/p' }),
  );
  await outcome(() => protectCommand({ ...options, control, arbiter: 'file:terms' }));
  t.match(colo.asked, [
    { arbiter: `etcd:https://c:2379,prefix=/x/,cacert=${here('ca.pem')},password-file=/p` },
    { arbiter: `file:${here('terms')}` },
  ]);
});

test('events are shown as they were, and with --all the messages too', async (t) => {
  const { colo, control } = await Served.start(t);
  colo.happen(event(1, 'connected to b'));
  colo.happen(event(2, 'checkpoint-request 7 sent', 'message'));
  t.strictSame((await outcome(() => eventsCommand({ control }))).lines, ['16:00:00.001  pair        connected to b']);
  const { lines } = await outcome(() => eventsCommand({ control, all: true, json: true }));
  t.strictSame(
    lines.map((line) => JSON.parse(line)),
    colo.log,
  );
});

test('a backup goes to an absolute path, and says what it holds, or why there is none', async (t) => {
  const { colo, control } = await Served.start(t);
  const { lines } = await outcome(() => backupCommand('monday', { control }));
  const path = join(process.cwd(), 'monday');
  t.strictSame(colo.backups, [path]);
  t.strictSame(lines, [`${path} holds the disks as of epoch 12: 1 GiB, of which 1 MiB in use`]);
  const { lines: json } = await outcome(() => backupCommand('monday', { control, json: true }));
  t.strictSame(JSON.parse(json[0] ?? ''), { path, epoch: 12, totalBytes: 2 ** 30, writtenBytes: 2 ** 20 });
  colo.refusal = 'this machine has no disks';
  t.match((await outcome(() => backupCommand('monday', { control }))).error, /this machine has no disks/);
});

for (const all of [false, true]) {
  test(`events are followed until the machine ends${all ? ', with all messages' : ''}`, async (t) => {
    const served = await Served.start(t);
    const { colo, control } = served;
    colo.happen(event(1, 'one'));
    const { lines, error } = await outcome(
      () => eventsCommand({ control, follow: true, all }),
      async (shown) => {
        await until(() => shown.length === 1);
        colo.happen(event(2, 'two'));
        colo.happen(event(2, 'two again'));
        await until(() => shown.length === 3);
        served.end();
      },
    );
    t.equal(error, undefined);
    t.strictSame(
      lines.map((line) => line.slice(26)),
      ['one', 'two', 'two again'],
    );
  });
}

test('what comes after the event that was shown last, even if that is not kept any more', async (t) => {
  const [one, two, three] = [event(1, 'one'), event(2, 'two'), event(2, 'three')];
  t.strictSame(newerThan(undefined, [one, two]), [one, two]);
  t.strictSame(newerThan(two, [one, two, three]), [three]);
  t.strictSame(newerThan(one, [two, three]), [two, three]);
  t.strictSame(newerThan(three, [one, two, three]), []);
});

test('status has the pair first, and is shown again and again until the machine ends', async (t) => {
  const served = await Served.start(t);
  const { control } = served;
  const { lines } = await outcome(() => statusCommand({ control }));
  // With its date, as of long ago.
  t.match(lines[0], /^web {3}PROTECTED since .*14:02:11/);
  t.ok(lines.includes('name       web'));
  const json = await outcome(() => statusCommand({ control, json: true }));
  t.strictSame(JSON.parse(json.lines.join('')).colo, protectedStatus);

  const watched = await outcome(
    () => statusCommand({ control, watch: true, json: true }),
    async (shown) => {
      await until(() => shown.length > 1);
      served.end();
    },
  );
  t.equal(watched.error, undefined);
  t.match(JSON.parse(watched.lines[0] ?? ''), { colo: { headline: 'PROTECTED' } });
  t.strictSame(JSON.parse(watched.lines.at(-1) ?? ''), { ended: true, reason: 'guest-shutdown' });
});

test('a machine in no pair has the status that it always had', async (t) => {
  const { control, colo } = await Served.start(t);
  colo.current = undefined;
  t.equal((await outcome(() => statusCommand({ control }))).lines[0], 'name       web');
});

import { parentPort, workerData } from 'node:worker_threads';
import { bootTimeMs } from '../../host/system/clock.ts';
import { compile, keepBytecode } from '../../host/system/compiler.ts';
import { Doorbell } from '../../host/threads/doorbell.ts';
import { nameThread } from '../../host/threads/thread-name.ts';
import { backupsAreAStandbys, type ColoMilestone } from '../../vmm/monitor/colo-control.ts';
import { refusals } from '../core/commands.ts';
import { Recovery } from '../core/fencing/recovery.ts';
import { PacketRecording } from '../record/packet-recording.ts';
import { type CallPort, Calls, type Handlers } from '../side/calls.ts';
import type { HostListener } from '../side/host.ts';
import type {
  ColoCalls,
  CommonMachineCalls,
  PrimaryMachineCalls,
  SecondaryMachineCalls,
} from '../side/machine-calls.ts';
import { PrimaryHost } from '../side/primary/primary-host.ts';
import { SecondaryHost } from '../side/secondary/secondary-host.ts';
import { CountingThread, SignsOfLife } from '../side/signs-of-life.ts';
import type { ColoBirth } from './colo-birth.ts';

/** Body of the colo thread, which decides what leaves: a host for one side of a pair, with Node's own event loop. */
export function threadMain(): void {
  nameThread('colo');
  // Nobody waits for the guest yet, whose devices are the most that is done.
  compile('soon');
  // The other side may be lost after days in which nothing was done of what is then done at once.
  keepBytecode();
  const birth = workerData as ColoBirth;
  const port = parentPort as CallPort;
  const bell = new Doorbell(birth.bell);
  const signs = new SignsOfLife();
  signs.watch('main', new CountingThread(birth.turns));

  let host: PrimaryHost | SecondaryHost | undefined;
  const { pcap } = birth.config;
  const record =
    pcap === undefined
      ? undefined
      : new PacketRecording({
          path: pcap,
          nowUs: () => Math.floor(1000 * (performance.timeOrigin + performance.now())),
          failed: (why) => host?.log.add('pair', why),
        });
  const serving: Handlers<ColoCalls> = {
    // A side that could not begin is nobody's: it is about to say so.
    command: (command) => (host === undefined ? refusals.notProtected : host.command(command)),
    status: () => host?.status(),
    events: ({ all }) => host?.log.recent(all) ?? [],
    past: () => host?.log.past ?? { events: [], milestones: {} },
    backup: ({ path }) => {
      if (host instanceof SecondaryHost) return host.backup(path);
      throw new Error(backupsAreAStandbys);
    },
    endRecording: () => record?.close(),
    handOverChanges: () => (host instanceof PrimaryHost ? host.handOverChanges() : undefined),
    guestReset: () => host?.post({ kind: 'guest-reset' } as never),
    guestResumed: () => host?.guestResumed(),
    endOverdue: () => host?.post({ kind: 'end-overdue' } as never),
    guestEnded: ({ exitCode }) => host?.post({ kind: 'guest-ended', exitCode }),
    diskFailed: ({ error, counts }) => host?.diskFailed(error, counts),
  };
  const parts = { shape: birth.shape, signs, record };
  if (birth.role === 'primary') {
    const calls = new Calls<PrimaryMachineCalls, ColoCalls>(port, serving);
    const config = { ...birth.config, holder: birth.holder, now: bootTimeMs, past: birth.past };
    const primary = new PrimaryHost(
      config,
      {
        ...parts,
        disks: birth.disks,
        bell: bell.button,
        calls,
        heritage: birth.heritage,
        before: birth.before,
        changes: birth.changes,
        boot: birth.boot,
      },
      toOwner(calls),
    );
    host = primary;
    primary.start();
  } else {
    const calls = new Calls<SecondaryMachineCalls, ColoCalls>(port, serving);
    const config = { ...birth.config, holder: birth.holder, now: bootTimeMs };
    const recovery = new Recovery(config.settings);
    const standBy = async (): Promise<void> => {
      await host?.close();
      const secondary = new SecondaryHost(
        { ...config, past: host?.log.past },
        { ...parts, calls, again: standByAgain, recovery, bell: bell.button },
        toOwner(calls),
      );
      host = secondary;
      await secondary.start();
    };
    // One that is over and does not say so would be waited for in vain.
    const failed = (error: Error): void => calls.tell('failed', { reason: error.message });
    const standByAgain = (): void => void standBy().catch(failed);
    standByAgain();
  }

  void listen(bell, () => {
    host?.rang();
  });
}

async function listen(bell: Doorbell, rang: () => void): Promise<void> {
  for (;;) {
    await bell.next();
    rang();
  }
}

const endsProtection: readonly ColoMilestone[] = ['unprotected', 'failover', 'switchover'];

/** What the thread that owns the machine is told. */
function toOwner(calls: Pick<Calls<CommonMachineCalls, ColoCalls>, 'tell'>): HostListener {
  return {
    logged: (event) => {
      // A guest that nobody waits for has its devices compiled soon, as they were before there was a pair.
      if (event.event !== undefined && endsProtection.includes(event.event)) compile('soon');
      calls.tell('logged', event);
    },
    pairs: () => compile('late'),
    // Late again: a standby's io thread, which began meanwhile, has it compile soon.
    protects: (compares) => compile(compares ? 'soon' : 'late'),
    coloExit: (mode, reason) => calls.tell('coloExit', { mode, reason }),
    failed: (error) => calls.tell('failed', { reason: error.stack ?? error.message }),
  };
}

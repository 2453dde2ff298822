import { tell } from '../../host/console/tell.ts';
import { attendMachine } from '../../vmm/command/run-machine.ts';
import { StopSignals } from '../../vmm/command/stop-signals.ts';
import type { Machine } from '../../vmm/machine/machine.ts';
import { controlPath } from '../../vmm/monitor/control-directory.ts';
import { ControlSocket } from '../../vmm/monitor/control-socket.ts';
import { Monitor } from '../../vmm/monitor/monitor.ts';
import { hookOf } from '../observe/event-hook.ts';
import { beginRecordingFile } from '../record/recording-file.ts';
import { StandbyControl } from '../thread/standby-control.ts';
import { checkCards } from './standby-cards.ts';
import type { StandbyConfig } from './standby-config.ts';
import { StandbyFace } from './standby-face.ts';

/** Whoever is told to stop stops soon. */
const leavePatienceMs = 500;

/** How a standby's life before a takeover ends. */
type Outcome =
  | { readonly kind: 'live'; readonly machine: Machine }
  | { readonly kind: 'ended'; readonly exitCode: number };

/** Body of `colo-vmm standby`: waits for a primary, protects its guest, and takes over when it is lost. The exit code. */
export async function standbyCommand(config: StandbyConfig, program: URL): Promise<number> {
  const { pair, name } = config;
  checkCards(config.net);
  const notice = (text: string): void => tell(`colo-vmm: ${pair.pair}: ${text}\n`);
  const signals = new StopSignals();
  const hook = hookOf(config['on-event'], pair.pair, 'secondary');
  try {
    const control = await ControlSocket.claim(config.control ?? controlPath(name ?? pair.pair));
    try {
      // Not before the name is this process's: the one that has it may be recording there.
      if (pair.pcap !== undefined) beginRecordingFile(pair.pcap);
      let decide: (outcome: Outcome) => void = () => {};
      const decided = new Promise<Outcome>((resolve) => {
        decide = resolve;
      });
      const face = new StandbyFace(config, (exitCode) => decide({ kind: 'ended', exitCode }));
      const standby = new StandbyControl(pair, config, program, {
        notice,
        live: (machine) => {
          face.adopt(machine);
          decide({ kind: 'live', machine });
        },
        ended: (exitCode) => decide({ kind: 'ended', exitCode }),
      });
      if (hook !== undefined) standby.listen(hook);
      try {
        signals.handleWith((_signal, code) => decide({ kind: 'ended', exitCode: code }));
        control.serve(new Monitor(face, { name: name ?? pair.pair, colo: standby, snapshots: face }));
        const outcome = await decided;
        if (outcome.kind === 'ended') {
          await standby.leave(leavePatienceMs);
          return outcome.exitCode;
        }
        return await attendMachine(outcome.machine, {
          serial: config.serial,
          snapshots: face.snapshotsOf(outcome.machine),
          signals,
          colo: { close: () => standby.endProtection() },
        });
      } finally {
        await standby.close();
      }
    } finally {
      control.close();
    }
  } finally {
    await hook?.close();
    signals.close();
  }
}

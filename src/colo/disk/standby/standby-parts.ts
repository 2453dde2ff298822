import type { EngineChooser } from '../../../block/disk-engines.ts';
import type { SecondaryEvent } from '../../core/events.ts';
import type { Rules } from '../../core/rules.ts';
import type { Settings } from '../../core/settings.ts';
import type { Message } from '../../protocol/messages.ts';
import type { Term } from '../../protocol/numbers.ts';
import type { DiskView } from '../disk-view.ts';
import type { Generation, History } from '../history/history.ts';

/** What S's disks are made of. */
export interface StandbyDisksParts {
  /** All of the machine's. Its own thread leaves them alone until `StandbyDisks.handOver`. */
  readonly disks: readonly DiskView[];
  readonly settings: Pick<Settings, 'diskLogBytes'>;
  readonly rules: Rules;
  readonly pair: string;
  readonly term: Term;
  readonly post: (event: SecondaryEvent) => void;
  /** False: wait for `StandbyDisks.drained`. */
  readonly send: (message: Message) => boolean;
  /** What is known of the disks, and is written down. */
  readonly past: StandbyPast;
  /** How calls on the disks' files are made; default on other threads. */
  readonly engines?: EngineChooser;
}

/** What S's disks were before a pairing, and are from then on. */
export interface StandbyPast {
  /** Before anything is written to the disks; undefined: nothing certain is known. */
  readonly history: History | undefined;
  /** From now on they are of that generation, and have not been written since. Resolves when that is durable. */
  renew(generation: Generation): Promise<void>;
}

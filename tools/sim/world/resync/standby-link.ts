import type { SecondaryEvent } from '../../../../src/colo/core/events.ts';
import type { History } from '../../../../src/colo/disk/history/history.ts';
import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import type { Agenda } from '../fakes/agenda.ts';
import type { Progress } from '../side/progress.ts';
import type { DiskHistory } from './disk-history.ts';

/** A process at one end. */
interface End {
  readonly session: number | undefined;
  process(run: () => void): void;
}

interface Standby extends End {
  readonly history: DiskHistory;
  /** It has taken over. */
  readonly live: boolean;
  readonly progress: Progress;
  post(event: SecondaryEvent): void;
  makeDurable(epoch: Epoch, done: (isDurable: boolean) => void): void;
}

interface Pair {
  readonly agenda: Agenda;
  readonly primary: End;
  readonly secondary: Standby;
  readonly lineage: { generations: number };
}

/** What a primary asks its standby about the disk, beside the frames of the protocol: no answer comes over a link that is not whole. */
export class StandbyLink {
  readonly #pair: Pair;

  constructor(pair: Pair) {
    this.#pair = pair;
  }

  /** Names a pairing, which no other one had. */
  newGeneration(): string {
    return `generation ${++this.#pair.lineage.generations}`;
  }

  /** Told what the standby knows of its disk, if it is reached. */
  askHistory(done: (history: History | undefined) => void): void {
    this.#reach((standby) => {
      standby.progress.preparing(true);
      standby.post({ kind: 'peer-prepares', isOver: false });
      const { asStandby } = standby.history;
      this.#answer(() => done(asStandby));
    });
  }

  /** Has the standby make durable what it has laid down, if it is reached; told whether all of that checkpoint is. */
  askDurable(epoch: Epoch, done: (isDurable: boolean) => void): void {
    this.#reach((standby) => standby.makeDurable(epoch, (isDurable) => this.#answer(() => done(isDurable))));
  }

  /** Has the standby's disk be of that generation, if it is reached; told once it is. */
  renew(generation: string, done: () => void): void {
    this.#reach((standby) => {
      const { history } = standby;
      standby.progress.preparing(false);
      standby.post({ kind: 'peer-prepares', isOver: true });
      history.renew(generation, new Uint8Array(history.suspect.length));
      history.marks.clear();
      this.#answer(done);
    });
  }

  #reach(act: (standby: Standby) => void): void {
    const { agenda, primary, secondary } = this.#pair;
    agenda.after(1, () =>
      secondary.process(() => {
        if (primary.session === undefined || secondary.session !== primary.session || secondary.live) return;
        act(secondary);
      }),
    );
  }

  #answer(act: () => void): void {
    const { agenda, primary } = this.#pair;
    agenda.after(1, () => primary.process(act));
  }
}

import type { Agenda } from '../fakes/agenda.ts';
import type { SideView } from '../side-view.ts';
import { Violation } from './violation.ts';

interface Pair {
  readonly agenda: Agenda;
  readonly clocksHonest: boolean;
  readonly primary: SideView;
  readonly secondary: SideView;
  readonly lineage: {
    readonly worlds: readonly { readonly primary: SideView; readonly secondary: SideView }[];
    readonly speakers: Map<number, object>;
  };
}

/** C.1, B.6: to clients one process speaks, in a term that is on its disk, and none that another one has followed. */
export class Speakers {
  readonly #pair: Pair;
  /** When the secondary took over. */
  #liveAt: number | undefined;
  /** The primary has said that it is silent for good. */
  #gaveUp = false;

  constructor(pair: Pair) {
    this.#pair = pair;
  }

  /** The other side has taken the clients over. */
  servedElsewhere(side: SideView): boolean {
    return side.role === 'primary' && this.#liveAt !== undefined;
  }

  /** A gate is opened for good: this side is alone. */
  opened(side: SideView): void {
    for (const other of this.#pair.lineage.worlds.flatMap(({ primary, secondary }) => [primary, secondary])) {
      if (other === side || other.dead || other.gate.mode !== 'direct') continue;
      throw new Violation('C.1', `${side.role} opens its gate, and ${other.role}'s is open`);
    }
    if (side.role === 'secondary') this.#liveAt = this.#pair.agenda.now;
    this.speaks(side);
  }

  /** The primary says that it is silent for good. */
  gaveUp(): void {
    this.#gaveUp = true;
  }

  /** Something of this side goes to the network that its clients are on. */
  speaks(side: SideView): void {
    if (side.role === 'primary' && this.#gaveUp) {
      throw new Violation('C.1', 'the primary sends, and said that it is silent for good');
    }
    const { term } = side.core;
    if (term > side.durableTerm)
      throw new Violation('B.6', `${side.role} speaks in term ${term}, which is not on its disk`);
    const { lineage, clocksHonest } = this.#pair;
    const { speakers } = lineage;
    const speaker = speakers.get(term) ?? side.holder;
    speakers.set(term, speaker);
    if (speaker !== side.holder) {
      throw new Violation('C.1', `${side.role} speaks in term ${term}, in which another process spoke`);
    }
    const later = speakers.get(term + 1);
    if (later !== undefined && later !== side.holder && clocksHonest) {
      throw new Violation('C.1', `${side.role} speaks in term ${term}, and another process spoke in the next one`);
    }
    if (side.role === 'primary' && this.#liveAt !== undefined && clocksHonest) {
      throw new Violation('C.1', `the primary sends, and the secondary is live since ${this.#liveAt.toFixed(1)} ms`);
    }
  }

  /** B.7: no two standbys may take over in the term after this one. */
  checkAlone({ core: { term } }: SideView): void {
    for (const { secondary } of this.#pair.lineage.worlds) {
      if (secondary === this.#pair.secondary || secondary.dead || secondary.core.term !== term) continue;
      if (secondary.core.phase !== 'protecting') continue;
      throw new Violation('B.7', `two standbys protect in term ${term}`);
    }
  }
}

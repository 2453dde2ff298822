import type { ArbiterAnswer } from '../../../../src/colo/core/events.ts';
import type { Role } from '../../../../src/colo/protocol/numbers.ts';
import type { Agenda } from './agenda.ts';
import type { RandomStream } from './random.ts';

/** etcd: it answers by itself. manual: yes is what an operator says, to one side a term. */
export type ArbiterKind = 'etcd' | 'manual';

/** Whoever asks: a process, on one of the two hosts. */
export interface Asker {
  readonly role: Role;
  /** The process. */
  readonly holder: object;
}

/** Gives each term to the first side that asks for it, and says yes to that side as often as it asks. */
export class FakeArbiter {
  readonly #agenda: Agenda;
  readonly #random: RandomStream;
  readonly kind: ArbiterKind;
  readonly #owners = new Map<number, Asker>();
  /** Nobody reaches it. */
  down = false;
  /** Questions arrive, answers do not. */
  mute = false;
  readonly cutFrom: Record<Role, boolean> = { primary: false, secondary: false };

  constructor(kind: ArbiterKind, agenda: Agenda, random: RandomStream) {
    this.kind = kind;
    this.#agenda = agenda;
    this.#random = random;
  }

  ownerOf(term: number): Role | undefined {
    return this.#owners.get(term)?.role;
  }

  ask(who: Asker, term: number, byOperator: boolean, answer: (answer: ArbiterAnswer) => void): void {
    if (this.kind === 'manual') {
      if (byOperator && !this.#owners.has(term)) this.#owners.set(term, { role: who.role, holder: who.holder });
      const yes = this.#owners.get(term)?.holder === who.holder;
      this.#agenda.after(0.1, () => answer(yes ? 'yes' : 'unknown'));
      return;
    }
    let answered = false;
    const once = (what: ArbiterAnswer): void => {
      if (!answered) answer(what);
      answered = true;
    };
    this.#agenda.after(120, () => once('unknown'));
    this.#agenda.after(this.#random.between(0.3, 3), () => {
      if (this.down || this.cutFrom[who.role]) return;
      const owner = this.#owners.get(term) ?? { role: who.role, holder: who.holder };
      this.#owners.set(term, owner);
      this.#agenda.after(this.#random.between(0.3, 3), () => {
        if (!this.down && !this.mute && !this.cutFrom[who.role]) once(owner.holder === who.holder ? 'yes' : 'no');
      });
    });
  }
}

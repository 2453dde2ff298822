import type { Mode } from '../../../../src/colo/protocol/numbers.ts';
import type { PrimaryProcess } from './primary-process.ts';

/** To the rule of modes, which wants to hear of many before it believes in an average. */
const packetsOfAnswer = 4;

/** How long output waits at the gate in either mode, which the core is told now and then. */
export class OutputWaits {
  readonly #side: PrimaryProcess;
  /** When what waits was said, and in which mode. */
  readonly #said = new Map<number, { readonly at: number; readonly mode: Mode }>();
  /** Of what left since that was told. */
  readonly #waited = { comparing: { packets: 0, ms: 0 }, buffered: { packets: 0, ms: 0 } };

  constructor(side: PrimaryProcess) {
    this.#side = side;
  }

  said(number: number): void {
    if (this.#side.world.compares) this.#said.set(number, { at: this.#side.now, mode: this.#side.mode });
  }

  left(number: number): void {
    const said = this.#said.get(number);
    if (said !== undefined && this.#side.gate.mode === 'holding') {
      this.#waited[said.mode].packets += packetsOfAnswer;
      this.#waited[said.mode].ms += packetsOfAnswer * (this.#side.now - said.at);
    }
    this.#said.delete(number);
  }

  tell(): void {
    for (const mode of ['comparing', 'buffered'] as const) {
      const { packets, ms } = this.#waited[mode];
      if (packets > 0) this.#side.post({ kind: 'output-waited', mode, packets, waitedMs: ms });
      this.#waited[mode] = { packets: 0, ms: 0 };
    }
  }
}

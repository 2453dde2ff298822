import { RedrawnBlock } from '../../src/vmm/client/watch-status.ts';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import type { ClientsReport } from './client-program.ts';
import type { Side } from './lab-pair.ts';
import type { Audience } from './round.ts';
import { binMs, clientsLine, type Happening, happeningLine, type Scene, seconds, told, viewLines } from './view.ts';

const redrawMs = 250;
const plainLineMs = 5000;

/** Shows a round: redrawn in its place on a terminal; elsewhere what happens, and now and then a line of figures. */
export class Show implements Audience {
  readonly #began = performance.now();
  readonly #status: Partial<Record<Side, ColoStatus>> = {};
  readonly #bins: number[] = [];
  readonly #happened: Happening[] = [];
  readonly #gone: Partial<Record<Side, string>> = {};
  readonly #block = new RedrawnBlock();
  readonly #isTerminal = process.stdout.isTTY === true;
  readonly #timer: NodeJS.Timeout;
  #clients: ClientsReport | undefined;

  constructor() {
    this.#timer = setInterval(() => this.#draw(), this.#isTerminal ? redrawMs : plainLineMs);
  }

  said(side: Side, line: string): void {
    this.happened(told(side, line));
  }

  status(side: Side, status: ColoStatus): void {
    this.#status[side] = status;
  }

  clients(report: ClientsReport): void {
    const bin = Math.floor(this.#nowMs() / binMs);
    while (this.#bins.length <= bin) this.#bins.push(0);
    this.#bins[bin] = (this.#bins[bin] ?? 0) + report.summary.answers - (this.#clients?.summary.answers ?? 0);
    this.#clients = report;
  }

  happened(text: string): void {
    const happening = { atMs: this.#nowMs(), text };
    this.#happened.push(happening);
    if (!this.#isTerminal) process.stdout.write(`${happeningLine(happening)}\n`);
  }

  struck(side: Side): void {
    this.#gone[side] = `lost its power at ${seconds(this.#nowMs())}`;
    this.happened(`host ${side}: power cut`);
  }

  repaired(side: Side): void {
    delete this.#gone[side];
    delete this.#status[side];
    this.happened(`host ${side}: it has its power again, and nothing of what it had`);
  }

  handedOver(side: Side): void {
    this.#gone[side] = `handed the guest over at ${seconds(this.#nowMs())}`;
  }

  /** Leaves the last picture. */
  end(): void {
    clearInterval(this.#timer);
    if (this.#isTerminal) this.#draw();
  }

  #draw(): void {
    const { stdout } = process;
    const scene: Scene = {
      clients: this.#clients,
      bins: this.#bins,
      status: this.#status,
      gone: this.#gone,
      happened: this.#happened,
    };
    if (this.#isTerminal) stdout.write(this.#block.draw(viewLines(scene), stdout));
    else if (this.#clients !== undefined && this.#clients.summary.answers > 0) {
      stdout.write(`${happeningLine({ atMs: this.#nowMs(), text: clientsLine(scene) })}\n`);
    }
  }

  #nowMs(): number {
    return performance.now() - this.#began;
  }
}

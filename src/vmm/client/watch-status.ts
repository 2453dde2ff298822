import type { MachineConnection } from './machine-connection.ts';
import { renderStatus, statusOf } from './machine-status.ts';
import { endWithReader, later, print } from './with-machine.ts';

const periodMs = 1000;

/** Shows a machine until it ends: redrawn in its place on a terminal, else a block or a JSON object after the other. */
export async function watchStatus(
  machine: MachineConnection,
  options: { readonly json?: boolean; readonly why?: boolean },
): Promise<void> {
  const { stdout } = process;
  const block = new RedrawnBlock();
  endWithReader();
  for (;;) {
    const status = await machine.unlessEnded(statusOf(machine));
    if (status === undefined || status.state === 'shutdown') return;
    if (options.json) print(JSON.stringify(status));
    else if (stdout.isTTY) stdout.write(block.draw(renderStatus(status, options), stdout));
    else print([...renderStatus(status, options), ''].join('\n'));
    await later(periodMs);
  }
}

/** Lines on a terminal that are drawn again where they are. */
export class RedrawnBlock {
  #rows = 0;

  /**
   * What draws `lines` in place of those before. What does not fit is cut off: a line that wraps, or a block that scrolls,
   * could not be found again.
   */
  draw(lines: readonly string[], { columns, rows }: { readonly columns: number; readonly rows: number }): string {
    const shown = lines.slice(0, Math.max(1, rows - 1)).map((line) => [...line].slice(0, columns).join(''));
    const back = this.#rows === 0 ? '' : `\u001b[${this.#rows}A`;
    this.#rows = shown.length;
    return `${back}${shown.map((line) => `${line}\u001b[K\n`).join('')}\u001b[J`;
  }
}

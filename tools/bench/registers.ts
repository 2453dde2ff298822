import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tinyElf } from '../../test/support/tiny-elf.ts';
import { vmmBundle } from '../vmm-files.ts';
import { cReference } from './c-reference.ts';
import { median, rounded } from './statistics.ts';

/** What a register access costs here and in C. A whole exit: guest, KVM, the VMM's loop, and back. */
export interface RegistersResult {
  readonly bench: 'registers';
  readonly ours_ns: number;
  readonly c_ns: number;
  readonly ratio: number;
  readonly rounds: number;
}

/** Accesses of the short and the long run. What a run costs besides its accesses cancels out in the difference. */
const shortRun = 20_000;
const longRun = 420_000;

/**
 * Times a machine-code guest that reads the UART's scratch register in a loop, under this VMM and under a C program
 * that does nothing else. Undefined where there is no C compiler.
 */
export function benchRegisters(rounds: number, progress: (line: string) => void): RegistersResult | undefined {
  if (spawnSync('cc', ['--version']).status !== 0) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'colo-vmm-bench-'));
  try {
    const reference = join(folder, 'reference');
    writeFileSync(`${reference}.c`, cReference);
    execFileSync('cc', ['-O2', '-o', reference, `${reference}.c`]);
    for (const [name, accesses] of Object.entries({ short: shortRun, long: longRun })) {
      writeFileSync(join(folder, `${name}.bin`), guestCode(accesses));
      writeFileSync(join(folder, `${name}.elf`), tinyElf(guestCode(accesses)));
    }
    const ours = (length: string) =>
      time(process.execPath, [vmmBundle, 'run', '--serial', 'none', '--kernel', join(folder, `${length}.elf`)]);
    const c = (length: string) => time(reference, [join(folder, `${length}.bin`)]);
    const perAccess = (run: (length: string) => number) => ((run('long') - run('short')) / (longRun - shortRun)) * 1e6;
    const figures: { ours: number; c: number }[] = [];
    for (let round = 1; round <= rounds; round++) {
      const figure = { ours: perAccess(ours), c: perAccess(c) };
      progress(`round ${round}: ours ${figure.ours.toFixed(0)} ns, C ${figure.c.toFixed(0)} ns an access`);
      figures.push(figure);
    }
    return {
      bench: 'registers',
      ours_ns: rounded(median(figures.map((figure) => figure.ours)), 0),
      c_ns: rounded(median(figures.map((figure) => figure.c)), 0),
      ratio: rounded(median(figures.map((figure) => figure.ours / figure.c)), 3),
      rounds,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** mov dx, 0x3ff; mov ecx, N; again: in al, dx; dec ecx; jnz again; then S5 to the power register. 32-bit code. */
function guestCode(accesses: number): Uint8Array {
  const count = new Uint8Array(new Uint32Array([accesses]).buffer);
  return Uint8Array.of(
    ...[0x66, 0xba, 0xff, 0x03],
    ...[0xb9, ...count],
    ...[0xec, 0x49, 0x75, 0xfc],
    ...[0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee, 0xf4],
  );
}

/** Milliseconds from start to end. */
function time(command: string, args: readonly string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
  const elapsed = performance.now() - start;
  if (status !== 0) throw new Error(`${command} failed: ${stderr}`);
  return elapsed;
}

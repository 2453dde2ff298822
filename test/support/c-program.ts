import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Why C programs cannot be made here, with the remedy; false if they can. */
export function noCompiler(): string | false {
  const probe = runC('#include <stdio.h>\n#include <linux/kvm.h>\nint main(void) { return 0; }\n');
  if (probe.status === 0) return false;
  return 'no C compiler with the kernel headers: apt-get install gcc libc6-dev linux-libc-dev';
}

/** Compiles and runs a program; what it prints. */
export function outputOfC(source: string): string {
  const { status, text } = runC(source);
  if (status !== 0) throw new Error(`the C program failed:\n${text}`);
  return text;
}

function runC(source: string): { status: number; text: string } {
  const folder = mkdtempSync(join(tmpdir(), 'colo-c-'));
  try {
    const program = join(folder, 'program');
    writeFileSync(`${program}.c`, source);
    const compiled = spawnSync('cc', ['-w', '-o', program, `${program}.c`], { encoding: 'utf8' });
    if (compiled.status !== 0) return { status: compiled.status ?? 127, text: compiled.stderr ?? '' };
    const run = spawnSync(program, { encoding: 'utf8' });
    return { status: run.status ?? 127, text: run.stdout };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

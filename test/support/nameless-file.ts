import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Fd } from '../../src/host/libc/descriptors.ts';

/** A file of holes that is gone after the test. */
export function namelessFile(t: { teardown(clean: () => void): void }, sizeBytes: number): Fd {
  const folder = mkdtempSync(join(tmpdir(), 'colo-vmm-test-'));
  const fd = openSync(join(folder, 'file'), 'wx+');
  rmSync(folder, { recursive: true });
  t.teardown(() => closeSync(fd));
  ftruncateSync(fd, sizeBytes);
  return fd as Fd;
}

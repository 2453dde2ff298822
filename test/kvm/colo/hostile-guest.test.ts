import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import { attacking } from '../../support/attacking-guest.ts';
import { noEtcd } from '../../support/etcd.ts';
import { rewriting } from '../../support/guests.ts';
import { noKvm } from '../../support/kvm.ts';
import { Pair } from '../../support/pair.ts';
import { ip, makeInterface, noTaps } from '../../support/taps.ts';
import { flooding } from '../../support/virtio-guests.ts';
import { kernelFile, type VmmProcess } from '../../support/vmm-process.ts';

const options = { skip: noKvm() || noEtcd() || noTaps(), timeout: 120_000 };
const MiB = 1 << 20;

/** Checkpoints under whatever the guest does, so many at least. */
const epochs = 8;

interface Hostile {
  readonly code: Uint8Array;
  readonly says: string;
  /** Of the primary. */
  readonly flags?: readonly string[];
  readonly card?: boolean;
  readonly disk?: boolean;
}

/** Resident memory, bytes. */
function residentBytes({ child }: VmmProcess): number {
  return 1024 * Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]);
}

/**
 * A guest that does what it can is protected like any other one: checkpoints go on, neither side grows, and the standby takes over
 * what there is.
 */
async function endures(t: Test, { code, says, flags = [], card = false, disk = false }: Hostile): Promise<void> {
  const pair = await Pair.make(t);
  const own = (side: 'a' | 'b'): string[] => {
    // Two vCPUs that never sleep leave little time to a busy machine's other threads.
    const words = ['--serial', 'stdio,eof=ignore', '--detection', '5000'];
    if (card) {
      const tap = makeInterface(t, 'tap');
      ip('link', 'set', tap, 'up');
      words.push('--net', `tap=${tap},mac=02:00:00:00:00:07`);
    }
    if (disk) {
      const path = join(pair.folder, `${side}.img`);
      writeFileSync(path, '');
      truncateSync(path, MiB);
      words.push('--disk', `path=${path},id=root`);
    }
    return words;
  };
  const standby = pair.standby(...own('b'));
  const primary = pair.primary(kernelFile(pair.folder, code), '--checkpoint-delay', '20', ...flags, ...own('a'));
  await primary.printed(says);
  await pair.protected();
  const sizes = [primary, standby].map(residentBytes);
  const { epoch } = await pair.status('a', () => true);
  await pair.status('a', (status) => status.headline === 'PROTECTED' && status.epoch > epoch + epochs);
  for (const [index, vmm] of [primary, standby].entries()) {
    const grown = residentBytes(vmm) - (sizes[index] as number);
    t.ok(grown < 192 * MiB, `${Math.round(grown / MiB)} MiB more`);
  }
  await primary.endedBySignal('SIGKILL');
  await pair.status('b', ({ headline }) => headline === 'UNPROTECTED');
  t.notMatch(standby.stderr, /failed/);
  t.equal((await standby.endedBySignal('SIGTERM')).code, 143, standby.stderr);
}

test('a guest that breaks every rule of virtio', options, (t) => {
  const code = attacking({ seed: 5, devices: 2, rounds: 2 ** 31 - 1, announce: '!' }, 24, new Uint8Array(4096));
  return endures(t, { code, says: '', flags: ['--cpus', '2'], card: true, disk: true });
});

test('a guest that writes to all of its memory all the time', options, (t) => {
  return endures(t, { code: rewriting(16 * MiB, 'round'), says: 'round', flags: ['--memory', '16M'] });
});

test('a guest that sends as fast as it can', options, (t) => {
  return endures(t, { code: flooding(0, 'ready'), says: 'ready', card: true });
});

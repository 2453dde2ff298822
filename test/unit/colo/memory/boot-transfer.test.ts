import { ftruncateSync, readdirSync, readSync, writeSync } from 'node:fs';
import { type Test, test } from 'tap';
import { KeptBoot } from '../../../../src/colo/machine/kept-boot.ts';
import { bootBytes, bootMessages } from '../../../../src/colo/memory/boot-messages.ts';
import { BootReceiver, type BootReceiverParts } from '../../../../src/colo/memory/boot-receiver.ts';
import type { BootMessage, BootSizes } from '../../../../src/colo/protocol/messages.ts';
import type { BootDescriptors } from '../../../../src/vmm/machine/machine-shape.ts';
import { namelessFile } from '../../../support/nameless-file.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

const MiB = 2 ** 20;

/** Of that length, and the same nowhere else. */
function bytesOf(length: number, seed: number): Uint8Array {
  return new Uint8Array(length).map((_, index) => (index * 31 + (index >> 12) + seed) & 0xff);
}

/** What a primary has open. */
function booted(t: Test, kernel: Uint8Array, initrd?: Uint8Array): BootDescriptors {
  const file = (name: string, bytes: Uint8Array) => {
    const fd = namelessFile(t, 0);
    writeSync(fd, bytes);
    return { name, fd };
  };
  return {
    kernel: file('vmlinuz', kernel),
    ...(initrd === undefined ? {} : { initrd: file('root.cpio', initrd) }),
    commandLine: 'console=ttyS0 panic=-1',
    kaslr: true,
  };
}

/** A standby that takes it. */
function standby(t: Test, parts: Partial<BootReceiverParts> = {}) {
  const folder = temporaryFolder(t);
  const pauses: boolean[] = [];
  const failures: string[] = [];
  let kept: KeptBoot | undefined;
  const receiver = new BootReceiver({
    keep: async (sizes) => {
      kept = new KeptBoot(folder, sizes);
      t.teardown(() => kept?.close());
      return kept.descriptors;
    },
    pause: (isPaused) => pauses.push(isPaused),
    moved: () => {},
    failed: ({ message }) => failures.push(message),
    ...parts,
  });
  t.teardown(() => receiver.close());
  return { folder, receiver, pauses, failures, kept: () => kept as KeptBoot };
}

const begin = (kernel: number, initrd?: number): BootMessage & BootSizes => ({
  ...{ kind: 'boot-begin', kernel: { name: 'vmlinuz', sizeBytes: kernel }, commandLine: 'quiet', kaslr: false },
  ...(initrd === undefined ? {} : { initrd: { name: 'root.cpio', sizeBytes: initrd } }),
});

for (const [kernel, initrd] of [
  [700_001, 1_300_000],
  [262_144, 262_144],
  [5000, undefined],
  [5000, 0],
] as const) {
  test(`a kernel of ${kernel} bytes and an initrd of ${initrd} are what the standby boots, byte by byte`, async (t) => {
    const files = [bytesOf(kernel, 1), initrd === undefined ? undefined : bytesOf(initrd, 2)] as const;
    const from = booted(t, ...files);
    t.equal(bootBytes(from), kernel + (initrd ?? 0));
    const { folder, receiver, failures, kept } = standby(t);
    for await (const message of bootMessages(from)) receiver.take(message);
    await receiver.whole();
    const images = kept().open();
    t.teardown(() => images.close());
    t.equal(images.commandLine, from.commandLine);
    t.equal(images.kaslr, true);
    t.equal(images.kernel.name, 'vmlinuz');
    t.ok(Buffer.from(images.kernel.bytes).equals(files[0]));
    t.equal(images.initrd === undefined, initrd === undefined);
    if (files[1] !== undefined) t.ok(Buffer.from(images.initrd?.bytes ?? []).equals(files[1]));
    t.strictSame(readdirSync(folder), [], 'the files have no names');
    t.strictSame(failures, []);

    // A standby that takes over passes it on.
    const next = standby(t);
    for await (const message of bootMessages(kept().descriptors)) next.receiver.take(message);
    await next.receiver.whole();
    const again = next.kept().open();
    t.teardown(() => again.close());
    t.ok(Buffer.from(again.kernel.bytes).equals(files[0]));
  });
}

test('a primary waits while the disk is slow', async (t) => {
  let release: () => void = () => {};
  const slow = new Promise<void>((resolve) => {
    release = resolve;
  });
  const made = standby(t);
  const { receiver, pauses, kept } = standby(t, {
    keep: async (sizes) => {
      await slow;
      const boot = new KeptBoot(made.folder, sizes);
      t.teardown(() => boot.close());
      return boot.descriptors;
    },
  });
  receiver.take(begin(16 * MiB));
  for (let sent = 0; sent < 4; sent++) receiver.take({ kind: 'boot-bytes', data: bytesOf(MiB, sent) });
  t.strictSame(pauses, []);
  receiver.take({ kind: 'boot-bytes', data: bytesOf(MiB, 4) });
  t.strictSame(pauses, [true], 'beyond 4 MiB that are not written');
  release();
  while (pauses.length < 2) await new Promise((resolve) => setTimeout(resolve, 2));
  t.strictSame(pauses, [true, false]);
  t.equal(kept(), undefined);
});

test('what does not fit what was announced is refused, and so is a second announcement, or a late one', async (t) => {
  const bytes = (length: number): BootMessage => ({ kind: 'boot-bytes', data: new Uint8Array(length) });
  const early = standby(t).receiver;
  t.throws(() => early.take(bytes(1)), { fault: 'invalid-message', message: /1 bytes .* after 0 of 0/ });
  const { receiver } = standby(t);
  receiver.take(begin(1000, 10));
  receiver.take(bytes(1000));
  t.throws(() => receiver.take(bytes(11)), { fault: 'invalid-message', message: /11 bytes .* after 1000 of 1010/ });
  t.throws(() => receiver.take(bytes(0)), { message: /0 bytes .* after 1000/ }, 'frames without end that move nothing');
  t.throws(() => receiver.take(begin(1000, 10)), { message: /boot-begin twice/ });
  await t.rejects(receiver.whole(), { fault: 'out-of-order', message: /after 1000 of 1010 bytes/ });
  const late = standby(t).receiver;
  await late.whole();
  t.throws(() => late.take(begin(1)), { message: /after its first checkpoint/ });
});

test('a folder that has no room is one line with the remedy, told once, and nothing is whole then', async (t) => {
  const { receiver, failures } = standby(t, {
    keep: async (sizes) => new KeptBoot('/proc', sizes).descriptors,
  });
  receiver.take(begin(3 * MiB, MiB));
  receiver.take({ kind: 'boot-bytes', data: new Uint8Array(1000) });
  await t.rejects(receiver.whole(), {
    message: /^\/proc takes no kernel and initrd of 4 MiB \(.*\): make room, or give another --state$/,
  });
  t.equal(failures.length, 1);
});

test("a folder without room is nobody's affair once the receiver is closed", async (t) => {
  const unheard: unknown[] = [];
  const hear = (error: unknown): void => void unheard.push(error);
  process.on('unhandledRejection', hear);
  t.teardown(() => process.off('unhandledRejection', hear));
  const { receiver, failures } = standby(t, {
    keep: async (sizes) => new KeptBoot('/proc', sizes).descriptors,
  });
  receiver.take(begin(1000, 10));
  await receiver.close();
  await new Promise((resolve) => setTimeout(resolve, 10));
  t.same([unheard, failures], [[], []]);
});

test('a file that is cut while it travels is named', async (t) => {
  const from = booted(t, bytesOf(600_000, 1));
  const messages = bootMessages(from);
  await messages.next();
  await messages.next();
  ftruncateSync(from.kernel.fd, 300_000);
  await messages.next();
  await t.rejects(messages.next(), { message: 'vmlinuz became shorter while the standby was sent it' });
});

test('files may be closed once a receiver is closed: nothing is written any more', async (t) => {
  const { receiver, kept } = standby(t);
  receiver.take(begin(8 * MiB));
  for (let sent = 0; sent < 8; sent++) receiver.take({ kind: 'boot-bytes', data: bytesOf(MiB, 7) });
  while (kept() === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
  await receiver.close();
  const last = new Uint8Array(1);
  readSync(kept().descriptors.kernel.fd, last, 0, 1, 8 * MiB - 1);
  t.equal(last[0], 0, 'what waited is dropped');
  kept().close();
  kept().close();
});

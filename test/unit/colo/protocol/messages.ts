import type { MachineShape } from '../../../../src/colo/protocol/machine-shape.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { protocolVersion } from '../../../../src/colo/protocol/messages.ts';
import { epoch } from '../../../../src/colo/protocol/numbers.ts';

export const shape: MachineShape = {
  cpus: 2,
  memoryBytes: 512 << 20,
  cpuVendor: 'GenuineIntel',
  xsaveBytes: 4096,
  cpuFeatures: ['sse4_2', 'avx2'],
  tscKhz: 2_400_000,
  tscScaling: true,
  disks: [{ id: 'root', path: 'web.img', sizeBytes: 8 * 2 ** 30, readOnly: false }],
  cards: [{ tap: 'tap0', mac: '02:00:00:00:00:01' }],
  rng: 'host',
};

const data = Uint8Array.from([1, 2, 3, 250]);
const n = epoch(2 ** 40 + 7);

/** One of every kind. */
export const everyMessage: readonly Message[] = [
  {
    ...{ kind: 'hello', version: protocolVersion, pair: 'web', shape, detectMs: 200, arbiter: 'manual', comparing: 1 },
    flows: [{ port: 443, policy: 'buffer' }],
  },
  { kind: 'welcome', shape },
  { kind: 'refusal', reason: 'its disk is smaller' },
  { kind: 'protected' },
  { kind: 'end', reason: 'error', exitCode: 0, why: 'its disk failed: ENOSPC' },
  { kind: 'ended' },
  { kind: 'heartbeat', clock: 1234.5, echo: Number.NaN, laidBytes: 2 ** 52 },
  { kind: 'checkpoint-wanted', why: 2 },
  {
    ...{ kind: 'boot-begin', kernel: { name: 'vmlinuz', sizeBytes: 2 ** 23 }, commandLine: 'quiet', kaslr: true },
    initrd: { name: 'root.cpio', sizeBytes: 0 },
  },
  { kind: 'boot-bytes', data },
  { kind: 'take-over', why: 'vda cannot be written: EIO' },
  { kind: 'checkpoint-ready', epoch: n },
  { kind: 'checkpoint-request', epoch: n },
  { kind: 'checkpoint-reply', epoch: n },
  { kind: 'vmstate-send', epoch: n, comparing: 1 },
  { kind: 'vmstate-size', epoch: n, value: 2 ** 33 + 1 },
  { kind: 'vmstate-received', epoch: n },
  { kind: 'vmstate-loaded', epoch: n },
  { kind: 'handover', epoch: n },
  { kind: 'handover-ready', epoch: n },
  { kind: 'handover-done', epoch: n },
  { kind: 'pages', epoch: n, data },
  { kind: 'pages-end', epoch: n, items: 3 },
  { kind: 'vmstate', epoch: n, data },
  { kind: 'disk-write', epoch: n, disk: 1, offset: 2 ** 41, data },
  { kind: 'disk-discard', epoch: n, disk: 0, offset: 4096, lengthBytes: 8192 },
  { kind: 'disk-zeroes', epoch: n, disk: 0, offset: 4096, lengthBytes: 8192 },
  { kind: 'disk-end', epoch: n, items: 12 },
  { kind: 'disk-compare', epoch: n, disk: 0, offset: 65536, lengthBytes: 131072 },
  { kind: 'disk-hashes', epoch: n, disk: 0, offset: 65536, data },
  { kind: 'disk-origin', epoch: n },
  { kind: 'disk-history', epoch: n, data },
  { kind: 'disk-generation', epoch: n, data },
  { kind: 'disk-sync', epoch: n },
  { kind: 'disk-durable', epoch: n },
  { kind: 'output', epoch: n, card: 0, data },
  { kind: 'input', epoch: n, card: 3, data },
  { kind: 'packets-end', epoch: n, items: 5 },
  { kind: 'output-left', epoch: n },
  { kind: 'secondary-output', epoch: n, card: 1, data },
  { kind: 'output-confirmed', epoch: n, items: 7 },
];

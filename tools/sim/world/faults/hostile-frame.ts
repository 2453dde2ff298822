import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import { FrameReader } from '../../../../src/colo/protocol/frame-reader.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';
import { epoch, peerOf, type Role, term } from '../../../../src/colo/protocol/numbers.ts';
import { ProtocolError } from '../../../../src/colo/protocol/protocol-error.ts';
import type { World } from '../world.ts';

const bytes = new Uint8Array(8);
const far = 1000;

/**
 * Something for this side that no honest peer would send now: it must end the connection and do nothing else. None, if there
 * is no connection.
 */
export function hostileFrame(world: World, to: Role, amount: number): Frame | ProtocolError | undefined {
  const side = world.side(to);
  if (side.dead || side.frozen || side.session === undefined || !isOpen(to, side.core.phase)) return undefined;
  const list = to === 'secondary' ? forSecondary(world) : forPrimary(world);
  const at = Math.floor(amount * (list.length + 2));
  if (at >= list.length) return garbage(to, at === list.length);
  const [message, theirTerm] = list[at] as readonly [Message, number];
  return { role: peerOf(to), term: term(theirTerm), message };
}

function isOpen(to: Role, phase: string): boolean {
  const open = to === 'primary' ? ['synchronising', 'seeding', 'protected'] : ['seeding', 'ready', 'protecting'];
  return open.includes(phase);
}

type Candidate = readonly [Message, number];

function forSecondary(world: World): Candidate[] {
  const { core } = world.secondary;
  const ours = core.term;
  const takeOver: Message = { kind: 'take-over', why: 'EIO' };
  return [
    // Of the pair before, of one that is to come, and of a primary that does not count on it yet.
    [takeOver, ours - 1],
    [takeOver, ours + 1],
    ...(core.phase === 'protecting' ? [] : [[takeOver, ours] as const]),
    [{ kind: 'checkpoint-request', epoch: epoch(far) }, ours],
    [{ kind: 'vmstate-send', epoch: epoch(far), comparing: 0 }, ours],
    [{ kind: 'vmstate-size', epoch: epoch(far), value: 2 ** 50 }, ours],
    [{ kind: 'pages', epoch: epoch(far), data: bytes }, ours],
    [{ kind: 'vmstate', epoch: epoch(far), data: bytes }, ours],
    [{ kind: 'disk-write', epoch: epoch(far), disk: 0, offset: 0, data: bytes }, ours],
    [{ kind: 'input', epoch: epoch(far), card: 0, data: bytes }, ours],
    [{ kind: 'packets-end', epoch: epoch(far), items: 0 }, ours],
    [{ kind: 'output-left', epoch: epoch(far) }, ours],
    [{ kind: 'handover', epoch: epoch(far) }, ours],
    [{ kind: 'handover-done', epoch: epoch(far) }, ours],
    [{ kind: 'ended' }, ours],
    [{ kind: 'heartbeat', clock: 0, echo: Number.NaN, laidBytes: 0 }, ours + 1],
    [{ kind: 'disk-write', epoch: epoch(0), disk: 0, offset: 0, data: bytes }, ours - 1],
    [
      {
        kind: 'welcome',
        shape: {
          cpus: 1,
          memoryBytes: 1,
          cpuVendor: '',
          xsaveBytes: 0,
          cpuFeatures: [],
          tscKhz: 1,
          tscScaling: true,
          disks: [],
          cards: [],
          rng: 'none',
        },
      },
      ours,
    ],
  ];
}

function forPrimary(world: World): Candidate[] {
  const { core } = world.primary;
  const ours = core.term;
  return [
    [{ kind: 'vmstate-received', epoch: epoch(far) }, ours],
    [{ kind: 'vmstate-loaded', epoch: epoch(far) }, ours],
    [{ kind: 'checkpoint-reply', epoch: epoch(far) }, ours],
    [{ kind: 'checkpoint-ready', epoch: epoch(far) }, ours],
    [{ kind: 'handover-ready', epoch: epoch(far) }, ours],
    [{ kind: 'heartbeat', clock: 0, echo: 1e15, laidBytes: 0 }, ours],
    [{ kind: 'heartbeat', clock: 0, echo: Number.NaN, laidBytes: 2 ** 50 }, ours],
    [{ kind: 'heartbeat', clock: 0, echo: world.primary.now, laidBytes: 0 }, ours + 1],
    [{ kind: 'vmstate-received', epoch: epoch(world.primary.primary.openEpoch - 1) }, ours - 1],
    [{ kind: 'ended' }, ours],
  ];
}

/** Bytes that a reader refuses: an unknown code, or a length of 4 GiB. */
function garbage(to: Role, unknownCode: boolean): ProtocolError | undefined {
  const head = new Uint8Array(24);
  head[4] = unknownCode ? 99 : 7;
  head[5] = to === 'primary' ? 2 : 1;
  if (!unknownCode) head.fill(0xff, 0, 4);
  try {
    new FrameReader('control', peerOf(to), () => {}).push(head);
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
  return undefined;
}

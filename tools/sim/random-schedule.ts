import type { Role } from '../../src/colo/protocol/numbers.ts';
import { type Fault, type FaultKind, faultKinds } from './faults.ts';
import {
  comparingSettings,
  overloadEndsMs,
  rareHeartbeats,
  simulatedRecovery,
  simulatedSettings,
  slowDiskComparingSettings,
  slowDiskSettings,
} from './simulated-settings.ts';
import { RandomStream } from './world/fakes/random.ts';
import type { Schedule } from './world/schedule.ts';

/**
 * `cycles`: one guest, many pairs, one after the other (see cycles.ts); `overload`: a host that is starved (see overload.ts); `slow-disk`: a
 * standby's disk takes less than the guest writes (see slow-disk.ts).
 */
export const modes = ['safety', 'liveness', 'cycles', 'overload', 'slow-disk'] as const;
export type Mode = (typeof modes)[number];

/** How often each kind is drawn: what kills more than it tells is rarer. */
const weights: Readonly<Record<FaultKind, number>> = {
  'process-killed': 5,
  'power-lost': 5,
  frozen: 10,
  'thread-hangs': 3,
  'clock-jumps': 1,
  'clock-rate': 1,
  'direction-cut': 7,
  'link-cut': 4,
  'connection-breaks': 3,
  'link-slow': 5,
  'link-fades': 5,
  'card-stalls': 8,
  'tap-busy': 8,
  'disk-slow': 4,
  'disk-fails': 2,
  'disk-full': 2,
  'term-disk-fails': 3,
  'arbiter-down': 4,
  'arbiter-mute': 3,
  'arbiter-cut': 3,
  'load-fails': 1,
  'hostile-peer': 8,
  'falls-silent': 8,
  'guest-resets': 2,
  'guest-powers-off': 1,
  'asked-checkpoint': 1,
  'asked-delay': 1,
  'asked-switchover': 5,
  'asked-protect': 1,
  'asked-unprotect': 1,
  'asked-lost-heartbeat': 5,
  'asked-failover': 1,
};

const bag: readonly FaultKind[] = (Object.keys(faultKinds) as FaultKind[]).flatMap((kind) =>
  new Array<FaultKind>(weights[kind]).fill(kind),
);

/** Effects of each side that are few and decide much: half of all faults strike before one of them. */
export const decisive: Readonly<Record<Role, readonly string[]>> = {
  primary: [
    'send',
    'capture',
    'transmit',
    'permit',
    'drain',
    'live-pass',
    'attach',
    'hold',
    'open',
    'close',
    'shut',
    'pause-guest',
    'step-down',
    'ask-arbiter',
    'write-term',
  ],
  secondary: [
    'send',
    'stage',
    'load',
    'commit-disk',
    'discard',
    'revive',
    'open',
    'announce',
    'send-kept',
    'replay-input',
    'resume-guest',
    'close',
    'ask-arbiter',
    'write-term',
  ],
};

/** The same for what a secondary does when its guest runs. */
const decisiveComparing: readonly string[] = [
  'pause-guest',
  'start',
  'let-in',
  'let-in-kept',
  'forget-own',
  'hold-guest',
];

/** The schedule of a seed. @param compares both guests run */
export function randomSchedule(seed: number, mode: Mode, compares = false): Schedule {
  if (mode === 'cycles') return randomCycles(seed, compares);
  if (mode === 'overload') return overloadOf(seed, compares);
  if (mode === 'slow-disk') return slowDiskOf(seed, compares);
  if (mode === 'liveness' && seed % 16 === 7) return brokenDiskOf(seed, compares);
  if (mode === 'liveness' && seed % 16 === 15) return failedLoadOf(seed, compares);
  const random = new RandomStream(seed, 100);
  const faults: Fault[] = [];
  // Most seeds have one to three faults; every tenth has none, some have many.
  const count = random.chance(0.1) ? 0 : random.chance(0.1) ? 4 + random.below(4) : 1 + random.below(3);
  const lengthMs = 700;
  for (let at = 0; at < count; at++) faults.push(randomFault(random, faults.at(-1), compares));
  const healthy = mode === 'liveness' ? healthyFrom(random, faults) : undefined;
  return {
    seed,
    faults,
    arbiter: mode === 'safety' && random.chance(0.2) ? 'manual' : 'etcd',
    asBytes: seed % 8 === 0,
    lengthMs: healthy === undefined ? lengthMs : healthy.fromMs + 1000,
    settings: compares ? comparingSettings : simulatedSettings,
    ...(healthy === undefined ? {} : { healthy }),
  };
}

/** Of a guest that lives through many pairs: two thirds have faults beside what befalls these anyway. */
function randomCycles(seed: number, compares: boolean): Schedule {
  const random = new RandomStream(seed, 200);
  const faults: Fault[] = [];
  const count = random.chance(0.35) ? 0 : 1 + random.below(4);
  for (let at = 0; at < count; at++) {
    const fault = randomFault(random, faults.at(-1), compares);
    // It comes at any time of a life that is longer.
    faults.push({ ...fault, nth: fault.nth * (1 + random.below(10)) });
  }
  return {
    seed,
    faults,
    arbiter: random.chance(0.15) ? 'manual' : 'etcd',
    asBytes: seed % 8 === 0,
    lengthMs: 6200,
    settings: compares ? comparingSettings : simulatedSettings,
    life: 'cycles',
  };
}

/** Of a pair one host of which is starved: nothing else goes wrong. */
function overloadOf(seed: number, compares: boolean): Schedule {
  return {
    seed,
    faults: [],
    arbiter: 'etcd',
    asBytes: seed % 8 === 0,
    lengthMs: overloadEndsMs + 2 * simulatedRecovery.longestWaitMs,
    settings: compares ? comparingSettings : simulatedSettings,
    life: 'overload',
  };
}

/** Of a standby whose disk is slower than the guest writes: that is all that goes wrong, but that it may hang or be killed. */
function slowDiskOf(seed: number, compares: boolean): Schedule {
  const usual = compares ? slowDiskComparingSettings : slowDiskSettings;
  return {
    seed,
    faults: [],
    arbiter: 'etcd',
    asBytes: seed % 8 === 0,
    lengthMs: 5800,
    settings: new RandomStream(seed, 501).chance(0.2) ? { ...usual, ...rareHeartbeats } : usual,
    life: 'slow-disk',
  };
}

/** Of a primary whose disk breaks while nobody reaches the arbiter: all else is well, so S is to serve. */
function brokenDiskOf(seed: number, compares: boolean): Schedule {
  const kinds = ['disk-fails', 'disk-full'] as const;
  return withoutArbiter(new RandomStream(seed, 400), { seed, compares, kinds, side: 'primary', healthy: 'secondary' });
}

/** Of a standby that cannot load, or whose disk breaks, while nobody reaches the arbiter: all else is well, so P is to serve. */
function failedLoadOf(seed: number, compares: boolean): Schedule {
  const kinds = ['load-fails', 'load-fails', 'disk-fails'] as const;
  return withoutArbiter(new RandomStream(seed, 600), { seed, compares, kinds, side: 'secondary', healthy: 'primary' });
}

/** One of `kinds` befalls a side at any time, while nobody reaches the arbiter. */
function withoutArbiter(
  random: RandomStream,
  {
    seed,
    compares,
    kinds,
    side,
    healthy,
  }: {
    readonly seed: number;
    readonly compares: boolean;
    readonly kinds: readonly FaultKind[];
    readonly side: Role;
    readonly healthy: Role;
  },
): Schedule {
  const lengthMs = 1600;
  const fault = { side, before: 'any', amount: random.next() } as const;
  return {
    seed,
    faults: [
      { ...fault, kind: 'arbiter-down', nth: 1, durationMs: lengthMs },
      { ...fault, kind: random.pick(kinds), nth: 1 + random.below(800), durationMs: random.between(50, 900) },
    ],
    arbiter: 'etcd',
    asBytes: random.chance(0.2),
    lengthMs,
    settings: compares ? comparingSettings : simulatedSettings,
    healthy: { side: healthy, fromMs: lengthMs - 500, withoutArbiter: true },
  };
}

function healthyFrom(random: RandomStream, faults: readonly Fault[]): { readonly side: Role; readonly fromMs: number } {
  void faults;
  return { side: random.chance(0.5) ? 'primary' : 'secondary', fromMs: random.between(100, 600) };
}

function randomFault(random: RandomStream, last: Fault | undefined, compares: boolean): Fault {
  const kind = random.pick(bag);
  const side: Role = random.chance(0.5) ? 'primary' : 'secondary';
  const where: Role = random.chance(0.8) ? side : side === 'primary' ? 'secondary' : 'primary';
  const durationMs = random.chance(0.5) ? random.between(5, 120) : random.between(100, 900);
  const amount = random.next();
  const places = compares && where === 'secondary' ? [...decisive.secondary, ...decisiveComparing] : decisive[where];
  const before = random.chance(0.5) ? 'any' : random.pick(places);
  let nth = 1 + random.below(before === 'any' ? 500 : before === 'send' || before === 'stage' ? 60 : 15);
  // What happens soon after something else tells more.
  if (before === 'any' && last?.before === 'any' && random.chance(0.5)) nth = last.nth + random.below(60);
  // A TAP that stalls tells nothing unless a packet waits for it.
  if ((kind === 'card-stalls' || kind === 'tap-busy') && random.chance(0.6)) {
    return { kind, side: 'primary', before: 'release', nth: 1 + random.below(60), durationMs, amount };
  }
  // Only faults before an effect of a kind need the side that does it.
  return { kind, side: before === 'any' ? side : where, before, nth, durationMs, amount };
}

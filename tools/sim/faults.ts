import type { Role } from '../../src/colo/protocol/numbers.ts';

/**
 * What may go wrong, and what people do. Every kind has its name in reports; `duration` is in virtual ms where it ends by
 * itself, `amount` what else it needs.
 */
export const faultKinds = {
  'process-killed': { lasts: false },
  'power-lost': { lasts: false },
  frozen: { lasts: true },
  'thread-hangs': { lasts: true },
  'clock-jumps': { lasts: false },
  'clock-rate': { lasts: true },
  'direction-cut': { lasts: true },
  'link-cut': { lasts: true },
  'connection-breaks': { lasts: false },
  'link-slow': { lasts: true },
  'link-fades': { lasts: true },
  'card-stalls': { lasts: false },
  'tap-busy': { lasts: true },
  'disk-slow': { lasts: true },
  'disk-fails': { lasts: false },
  'disk-full': { lasts: true },
  'term-disk-fails': { lasts: true },
  'arbiter-down': { lasts: true },
  'arbiter-mute': { lasts: true },
  'arbiter-cut': { lasts: true },
  'load-fails': { lasts: true },
  'hostile-peer': { lasts: false },
  'falls-silent': { lasts: false },
  'guest-resets': { lasts: false },
  'guest-powers-off': { lasts: false },
  'asked-checkpoint': { lasts: false },
  'asked-delay': { lasts: false },
  'asked-switchover': { lasts: false },
  'asked-protect': { lasts: false },
  'asked-unprotect': { lasts: false },
  'asked-lost-heartbeat': { lasts: false },
  'asked-failover': { lasts: false },
} as const satisfies Record<string, { readonly lasts: boolean }>;

export type FaultKind = keyof typeof faultKinds;

/** Something that happens before the `nth` effect of this kind on this side; `any` counts all effects of both sides. */
export interface Fault {
  readonly kind: FaultKind;
  /** Whom it hits. */
  readonly side: Role;
  readonly before: string;
  readonly nth: number;
  readonly durationMs: number;
  /** Between 0 and 1: what else a kind needs. */
  readonly amount: number;
}

export function describe({ kind, side, before, nth, durationMs }: Fault): string {
  const where = before === 'any' ? `effect ${nth}` : `${side} effect "${before}" number ${nth}`;
  return `${kind} (${side}${faultKinds[kind].lasts ? `, ${Math.round(durationMs)} ms` : ''}) before ${where}`;
}

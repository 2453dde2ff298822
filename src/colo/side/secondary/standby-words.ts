import type { ColoHeadline } from '../../../vmm/monitor/colo-control.ts';
import { bounded } from '../../core/end-words.ts';
import type { SecondaryPhase } from '../../core/secondary/secondary-phase.ts';
import type { StandbyDisks } from '../../disk/standby/standby-disks.ts';
import type { Term } from '../../protocol/numbers.ts';
import type { OwnStatus } from '../host.ts';

/** The first word of `status`. */
export const headlines: Readonly<Record<SecondaryPhase, ColoHeadline>> = {
  listening: 'LISTENING',
  greeting: 'PAIRING',
  seeding: 'PAIRING',
  ready: 'PAIRING',
  protecting: 'PROTECTING',
  leaving: 'PROTECTING',
  'taking-over': 'PROTECTING',
  claiming: 'WAITING',
  'going-live': 'TAKEOVER',
  live: 'UNPROTECTED',
  refused: 'FENCED',
  failed: 'ENDED',
  ended: 'ENDED',
};

/** Its disks, and how far they are made equal to the primary's. */
export function diskStatus({
  logBytes,
  error,
  copying,
}: Pick<StandbyDisks, 'logBytes' | 'error' | 'copying'>): NonNullable<OwnStatus['disk']> {
  return {
    logBytes,
    ...(error === undefined ? {} : { error }),
    ...(copying === undefined ? {} : { copying }),
  };
}

/**
 * Why a primary that comes is turned away. Always the same words: who insists hears them again and again, and tells of each new one.
 *
 * @param paired whom it stands by for
 * @param why it is as it is
 */
export function whyBusy(phase: SecondaryPhase, paired: string | undefined, why: string): string {
  if (phase === 'claiming') return `it has lost ${paired ?? 'its primary'}, and waits to hear who goes on`;
  if (phase === 'going-live') return 'it is taking over';
  if (phase === 'live') return 'it has taken over, and is the primary now';
  if (phase === 'refused') return 'it was given up, and stands by again once its host is well';
  if (phase === 'failed') return `it stands by for nobody any more (${bounded(why)}): end it, and start it again`;
  return `it stands by for ${paired ?? 'another machine'} already`;
}

/**
 * What a host gives up that was in an earlier term of the pair, perhaps as its primary (spec B.7).
 *
 * @param blocks that were replaced where it may have written itself; undefined: nobody knows
 */
export function whatIsGone(
  before: Term,
  blocks: number | undefined,
  { copiedBytes, from }: { readonly copiedBytes: number; readonly from: string | undefined },
): string {
  const gone = blocks === undefined ? 'nobody knows how many blocks' : `at most ${blocks} blocks of 4 KiB`;
  return (
    `this host was in term ${before}: what it had written by then and the pair had not committed is gone; ` +
    `uncommitted writes gone: ${gone}; ${Math.ceil(copiedBytes / 1024)} KiB of its disks came from ${from}`
  );
}

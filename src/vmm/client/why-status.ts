import { printable } from '../../host/console/tell.ts';
import type { ColoStatus } from '../monitor/colo-control.ts';
import { count, dayAndTime, timeOfDay } from './quantities.ts';

const indent = ' '.repeat(10);
const dayMs = 86_400_000;

/**
 * What the two guests of a pair did not agree on, for a person: when and where, what usually causes that, what to do (spec A.5).
 *
 * @param now ms since 1970
 */
export function renderDivergences({ role, headline, compared }: ColoStatus, now: number): string[] {
  if (compared === undefined) return [nothingCompared(role, headline)];
  const { recent } = compared;
  if (recent.length === 0) return ['The two guests have agreed on everything since protection began.'];
  const title = recent.length === 1 ? 'the last divergence' : `last ${recent.length} kinds of divergences`;
  const lines = recent.flatMap(({ at, times, what, cause, remedy }) => [
    `${(now - at >= dayMs ? dayAndTime(at) : timeOfDay(at)).padEnd(8)}  ${what}`,
    `${indent}${cause}${times === 1 ? '' : ` ${count(times)} times in a row.`}`,
    ...(remedy === undefined ? [] : [`${indent}${remedy}.`]),
  ]);
  return [title, ...lines].map(printable);
}

function nothingCompared(role: ColoStatus['role'], headline: ColoStatus['headline']): string {
  if (role === 'secondary') return 'Answers are compared on the primary: ask there.';
  if (headline !== 'PROTECTED') return 'Nothing is compared: the guest is not protected now.';
  return 'Nothing is compared: protection began with --mode buffered.';
}

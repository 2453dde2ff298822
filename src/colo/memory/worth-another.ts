/** So few pages are copied within a stop that nobody notices: about a millisecond. */
const fewPages = 1000;
/** A guest that writes faster than this against what was sent is not caught up with. */
const mostOfBefore = 3 / 4;

/**
 * Whether another live pass shortens the stop by more than it costs: there is still much to send, and less than before.
 *
 * @param sent pages of the pass that is over
 * @param left pages that were written again meanwhile
 */
export function isWorthAnother(sent: number, left: number): boolean {
  return left > fewPages && left <= sent * mostOfBefore;
}

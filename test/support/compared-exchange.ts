import { tcpFlag } from '../../src/colo/packet/wire.ts';
import { CompareRig } from './compare-rig.ts';
import { connectionOf, type Heard, hasRightChecksum, isTcp, look, type Said } from './exchange.ts';
import { randomNumbers } from './random.ts';
import { TranslateRig } from './translate-rig.ts';

/** What came of two exchanges beside each other. */
export interface Compared {
  readonly rig: CompareRig;
  /** Packets that S's guest got in other numbers than those in which it was recorded to get them. */
  readonly misheard: number;
  /** Packets of S that could not be translated, for which a checkpoint is wanted. */
  readonly withheld: number;
}

/**
 * Both guests say what they said, each in its order, mixed as the seed has it: P's to the comparison at once, S's through the translation,
 * which is given what S's guest hears, too. An answer to P's SYN comes once that has left.
 *
 * @param primary of which only what the guest says counts
 * @param secondary see withClientOf
 */
export function compareExchanges(
  primary: readonly Said[],
  secondary: readonly (Said | Heard)[],
  seed: number,
): Compared {
  const random = randomNumbers(seed);
  const rig = new CompareRig({}, () => 'compare', 0);
  const translation = new TranslateRig({}, 0);
  const mine = primary.filter(({ byGuest }) => byGuest);
  const syns = new Map<string, number>();
  let [misheard, withheld] = [0, 0];
  const saysSyn = new Set(mine.filter((said) => isTcp(said) && isSyn(said)).map(connectionOf));

  const mayHear = (said: Said): boolean => {
    if (said.byGuest || !isTcp(said) || (look(said).tcpFlags & tcpFlag.ack) === 0) return true;
    const name = connectionOf(said);
    if (!saysSyn.has(name)) return true;
    const syn = syns.get(name);
    return syn !== undefined && rig.released.includes(syn);
  };
  const say = (said: Said | Heard): void => {
    if (said.byGuest) {
      const frame = translation.out(said.frame);
      if (frame === 'withheld') withheld++;
      else rig.s(frame);
    } else if ('asRecorded' in said) {
      const heard = { byGuest: false, frame: translation.in(said.frame) };
      const isRight = hasRightChecksum(heard) && Buffer.compare(heard.frame, said.asRecorded) === 0;
      if (!isRight) misheard++;
    }
  };

  for (let [at, other] = [0, 0]; at < mine.length || other < secondary.length; ) {
    const [next, others] = [mine[at], secondary[other]];
    if (next !== undefined && (others === undefined || random(2) === 0 || !mayHear(others))) {
      const handle = rig.p(next.frame);
      if (isTcp(next) && isSyn(next)) syns.set(connectionOf(next), handle);
      at++;
    } else if (others !== undefined) {
      say(others);
      other++;
    }
    if (random(4) === 0) rig.comparator.releaseParts();
  }
  return { rig, misheard, withheld };
}

function isSyn(said: Said): boolean {
  return (look(said).tcpFlags & tcpFlag.syn) !== 0;
}

import type { Role, Term } from '../protocol/numbers.ts';
import type { PeerLink } from './peer-link.ts';

/** Says why to whoever is at the other end, and closes the link. */
export function turnAway(link: PeerLink, role: Role, term: Term, reason: string): void {
  link.listen({ received: () => {}, drained: () => {}, ended: () => link.destroy() });
  refuse(link, role, term, reason);
}

/** As {@link turnAway}, of a link that somebody listens to. */
export function refuse(link: PeerLink, role: Role, term: Term, reason: string): void {
  link.send({ role, term, message: { kind: 'refusal', reason } });
  link.close();
}

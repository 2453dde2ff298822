import type { Heartbeat as HeartbeatMessage } from '../../protocol/messages.ts';
import { Heartbeat } from '../fencing/heartbeat.ts';
import { hasPeer } from './secondary-phase.ts';
import type { StandbyParts } from './standing-by.ts';

/** S's signs of life, and P's (spec B.5): with each of P's that S answers, P may release for a while (spec B.6). */
export class Vouching {
  readonly #parts: StandbyParts;
  readonly #heartbeat: Heartbeat;
  /** All of this side's threads have turned since its last heartbeat. */
  #turned = true;
  /** Bytes of P's writes on S's disks, since pairing: P may send more. */
  #laidBytes = 0;
  /** What P was told of that last, and when. */
  #toldBytes = 0;
  #toldAt = 0;

  constructor(parts: StandbyParts) {
    this.#parts = parts;
    this.#heartbeat = new Heartbeat(parts.rules, parts.settings);
  }

  /** A pair is made. */
  begin(): void {
    const { turn } = this.#parts;
    this.#laidBytes = 0;
    this.#toldBytes = 0;
    this.#toldAt = turn.now;
    this.#heartbeat.start(turn.now);
  }

  /** This side could take over. */
  counts(): void {
    this.#heartbeat.counts(this.#parts.turn.now);
  }

  beat(): void {
    this.#say(Number.NaN);
    this.#setTimer();
  }

  /** P's heartbeat goes back to it; false: this side may not vouch for itself now. */
  answer({ clock }: HeartbeatMessage): boolean {
    const { rules, turn, phase } = this.#parts;
    this.#heartbeat.heard(turn.now);
    if (phase.state === 'leaving' || !rules.mayVouch(this.#turned)) return false;
    this.#say(clock);
    return true;
  }

  /** So much is on S's disks by now. Heartbeats say so, and they are rare where detection may take long. */
  laid(bytes: number): void {
    const { rules, settings, turn, phase } = this.#parts;
    this.#laidBytes = bytes;
    if (!hasPeer(phase.state) || phase.state === 'leaving' || !rules.mayVouch(this.#turned)) return;
    const sinceMs = turn.now - this.#toldAt;
    if (rules.tellsLaid(bytes - this.#toldBytes, settings.diskLogBytes, sinceMs, settings.stepMs))
      this.#say(Number.NaN);
  }

  /** The alarm rang. */
  rang(turned: boolean): void {
    this.#turned = turned;
  }

  /** How long P has been silent for at least, ms, if that means that it is lost. To be asked when the alarm rings. */
  silentMs(): number | undefined {
    const { turn } = this.#parts;
    return this.#heartbeat.isSilent(turn.now, this.#isPairing) ? this.#heartbeat.limitMs(this.#isPairing) : undefined;
  }

  /** Says that it lives, if it may, and when it is asked again. */
  goOn(): void {
    if (this.#parts.rules.mayVouch(this.#turned)) this.beat();
    else this.#setTimer();
  }

  get #isPairing(): boolean {
    return this.#parts.phase.state === 'seeding';
  }

  #say(echo: number): void {
    const { turn } = this.#parts;
    this.#toldBytes = this.#laidBytes;
    this.#toldAt = turn.now;
    turn.send({ kind: 'heartbeat', clock: turn.now, echo, laidBytes: this.#laidBytes });
  }

  #setTimer(): void {
    const { turn } = this.#parts;
    turn.setTimer('heartbeat', this.#heartbeat.nextAt(turn.now, this.#isPairing));
  }
}

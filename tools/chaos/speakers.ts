import { type HostName, hostNames } from './net/network.ts';

/** Who spoke as the guest, and that nobody did after the other one had. */
export class Speakers {
  /** Two speakers: each moment is a line. */
  readonly violations: string[] = [];
  readonly frames: Record<HostName, number> = { a: 0, b: 0 };
  #speaker: HostName | undefined;
  #silenced: HostName | undefined;

  /** Who spoke last. */
  get speaker(): HostName | undefined {
    return this.#speaker;
  }

  /** Another guest. Whoever ran the one before is gone. */
  begin(): void {
    this.#speaker = undefined;
    this.#silenced = undefined;
    this.violations.length = 0;
    for (const host of hostNames) this.frames[host] = 0;
  }

  /** Whoever was silent is, or becomes, the guest's standby, and may be the one that speaks next. */
  isPair(): void {
    this.#silenced = undefined;
  }

  /** A frame of the guest's left a host. To be called in the order in which they did. */
  spoke(host: HostName, frame: Uint8Array): void {
    this.frames[host]++;
    if (host === this.#silenced) {
      const start = Buffer.from(frame.subarray(0, 64)).toString('hex');
      if (this.violations.length < 10) this.violations.push(`host ${host} spoke after the other one had: ${start}`);
    } else if (host !== this.#speaker) {
      this.#silenced = this.#speaker;
      this.#speaker = host;
    }
  }
}

/** Bounds of translation (spec A.6). */
export interface TranslateSettings {
  /** Connections that are translated at a time. */
  readonly flows: number;
  /** One that has closed is forgotten when it was silent for so long, ms: its end may still be sent again (TIME-WAIT). */
  readonly lingerMs: number;
  /** One whose SYN nobody has answered is forgotten when it was silent for so long, ms: whoever still waits for an answer asks again. */
  readonly handshakeMs: number;
  /** One that was silent for so long is forgotten though nobody closed it, ms: an end that gives up says nothing. */
  readonly idleMs: number;
}

const minuteMs = 60_000;

export const defaultTranslateSettings: TranslateSettings = {
  flows: 16_384,
  lingerMs: 2 * minuteMs,
  // Twice what any kernel waits before it sends a SYN again (Linux: TCP_RTO_MAX).
  handshakeMs: 4 * minuteMs,
  idleMs: 5 * 24 * 60 * minuteMs,
};

/** A client's echo is behind P's timestamps by a round trip: at a takeover those of connections are moved by so many ticks more. */
export const roundTripTicks = 100;

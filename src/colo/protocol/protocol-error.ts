/** What a peer did wrong. */
export type ProtocolFault =
  | 'invalid-message' // bytes that are no message
  | 'too-large' // a length that no message of this kind has
  | 'out-of-order' // a message that is known, at the wrong moment
  | 'wrong-epoch' // from the past or the future (spec B.1)
  | 'wrong-term' // of a reign that is over, or not begun (spec B.6)
  | 'unequal-pair'; // this machine cannot stand in for that one (spec B.14)

/** The peer's mistake. It ends the connection, and nothing else: the guest is unharmed. */
export class ProtocolError extends Error {
  readonly code = 'COLO_PROTOCOL';
  readonly fault: ProtocolFault;

  constructor(fault: ProtocolFault, message: string) {
    super(message);
    this.name = 'ProtocolError';
    this.fault = fault;
  }
}

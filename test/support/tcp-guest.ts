import { PacketView } from '../../src/colo/packet/packet-view.ts';
import { tcpFlag } from '../../src/colo/packet/wire.ts';
import { type EndpointState, TcpEndpoint } from './tcp-endpoint.ts';

/** What a guest's connection was, of those that a client opened: its client's initial sequence number tells which. */
interface Past {
  readonly clientIsn: number | undefined;
  readonly state: EndpointState;
}

/** A guest with one port: when a connection is over, it takes the next one that has the same ports. */
export class TcpGuest extends TcpEndpoint {
  past: Past[] = [];
  /** Of the connection that it has; undefined: the guest opened it. */
  clientIsn: number | undefined;
  readonly #seen = new PacketView();

  override receive(packet: Uint8Array): void {
    const view = this.#seen;
    view.read(packet, 0, packet.length);
    const isSyn = (view.tcpFlags & (tcpFlag.syn | tcpFlag.ack | tcpFlag.rst)) === tcpFlag.syn;
    if (isSyn && this.state.phase === 'listen') this.clientIsn = view.sequence;
    // Another SYN than the one that opened it: a copy of that may be late.
    if (isSyn && this.isDone && this.clientIsn !== view.sequence) {
      this.past.push({ clientIsn: this.clientIsn, state: this.state });
      this.clientIsn = view.sequence;
      this.restart();
      this.listen();
    }
    super.receive(packet);
  }

  /** Is what the other one is. */
  become(other: TcpGuest): void {
    this.state = structuredClone(other.state);
    this.past = structuredClone(other.past);
    this.clientIsn = other.clientIsn;
    this.now = other.now;
  }

  /** Everything that came in a connection; undefined: there was none from that client's number. */
  readOf(clientIsn: number | undefined): number[] | undefined {
    const all = [...this.past, { clientIsn: this.clientIsn, state: this.state }];
    const found = all.findLast((one) => one.clientIsn === clientIsn)?.state;
    return found && [...found.read, ...found.inbox];
  }
}

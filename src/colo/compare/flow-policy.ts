import { type PacketView, packetKind } from '../packet/packet-view.ts';
import { ipProtocol } from '../packet/wire.ts';

/**
 * How output of a connection is treated: compared; held until a checkpoint covers it, whatever S says; or let out at once, which is
 * unsafe: after a takeover clients may have seen what nobody knows of.
 */
export type FlowPolicy = 'compare' | 'buffer' | 'pass';

/** Which policy a connection has; asked once for each connection, with a packet that the guest sends. */
export type PolicyOf = (view: PacketView) => FlowPolicy;

/** Connections of one port, and what is done with them. */
export interface PortPolicy {
  /** The guest's port, or the other end's. */
  readonly port: number;
  readonly policy: FlowPolicy;
}

const policies: readonly FlowPolicy[] = ['compare', 'buffer', 'pass'];

/**
 * Reads `port=123,policy=buffer`.
 *
 * @throws RangeError that says what is wrong with it
 */
export function parseFlowPolicy(text: string): PortPolicy {
  const refuse = (why: string): never => {
    throw new RangeError(`--flow ${text}: ${why}; it is port=NUMBER,policy=${policies.join('|')}`);
  };
  const given = new Map<string, string>();
  for (const part of text.split(',')) {
    const [name = '', value] = part.split('=', 2);
    if (name !== 'port' && name !== 'policy') refuse(`'${name}' is neither port nor policy`);
    if (given.has(name)) refuse(`${name} is given twice`);
    given.set(name, value ?? '');
  }
  const port = Number(given.get('port') || Number.NaN);
  if (!Number.isInteger(port) || port < 1 || port > 0xffff) refuse('port is a number from 1 to 65535');
  const policy = policies.find((one) => one === given.get('policy'));
  return { port, policy: policy ?? refuse(`policy is ${policies.join(', ')}`) };
}

/**
 * The first that names one of a connection's ports counts; connections that none names are compared. Fragments of TCP and UDP are
 * buffered if any port is: only the first of a packet has its ports, and they may be that one's. They never pass.
 */
export function policyOfPorts(ports: readonly PortPolicy[]): PolicyOf {
  const ofFragments = ports.some(({ policy }) => policy === 'buffer') ? 'buffer' : 'compare';
  return (view) => {
    if (isTransportFragment(view)) return ofFragments;
    if (view.kind !== packetKind.tcp && view.kind !== packetKind.udp) return 'compare';
    const { sourcePort, destinationPort } = view;
    return ports.find(({ port }) => port === sourcePort || port === destinationPort)?.policy ?? 'compare';
  };
}

function isTransportFragment({ kind, ip: { protocol } }: PacketView): boolean {
  return kind === packetKind.fragment && (protocol === ipProtocol.tcp || protocol === ipProtocol.udp);
}

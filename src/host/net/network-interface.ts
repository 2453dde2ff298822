import type { ViewOf } from '../layout.ts';
import { close, type Fd, interfaceSocket } from '../libc/descriptors.ts';
import { type IoctlRequest, tryIoctl } from '../libc/ioctl.ts';
import type { Closable } from '../ownership.ts';
import {
  ARPHRD_ETHER,
  IFF_UP,
  IFNAMSIZ,
  ifreq,
  SIOCBRADDIF,
  SIOCGIFFLAGS,
  SIOCGIFINDEX,
  SIOCGIFMTU,
  SIOCSIFFLAGS,
  SIOCSIFHWADDR,
  SIOCSIFMTU,
} from './tap-abi.ts';

/** A struct ifreq for the interface `name`, which is short enough. */
export function requestFor(name: string): ViewOf<typeof ifreq> {
  const request = ifreq.allocate();
  const bytes = new Uint8Array(IFNAMSIZ);
  bytes.set(Buffer.from(name));
  request.ifr_name = bytes;
  return request;
}

/** The host's network interfaces, by name (netdevice(7)). Failures are negative errnos. */
export class NetworkInterfaces implements Closable {
  readonly #socket: Fd = interfaceSocket();

  /** Index of an interface; -ENODEV if there is none of that name. */
  indexOf(name: string): number {
    const request = requestFor(name);
    const result = this.#ask(SIOCGIFINDEX, request);
    return result < 0 ? result : request.ifr_ifindex;
  }

  /** Brings an interface up. One that is up already needs no permission. */
  bringUp(name: string): number {
    const request = requestFor(name);
    const result = this.#ask(SIOCGIFFLAGS, request);
    if (result < 0 || (request.ifr_flags & IFF_UP) !== 0) return result;
    request.ifr_flags |= IFF_UP;
    return this.#ask(SIOCSIFFLAGS, request);
  }

  /** Sets the MTU. One that is right already needs no permission. */
  setMtu(name: string, mtu: number): number {
    const request = requestFor(name);
    const result = this.#ask(SIOCGIFMTU, request);
    if (result < 0 || request.ifr_mtu === mtu) return result;
    request.ifr_mtu = mtu;
    return this.#ask(SIOCSIFMTU, request);
  }

  /** Sets the Ethernet address, of six bytes. */
  setAddress(name: string, address: Uint8Array): number {
    const request = requestFor(name);
    const hardware = new Uint8Array(16);
    hardware[0] = ARPHRD_ETHER;
    hardware.set(address, 2);
    request.ifr_hwaddr = hardware;
    return this.#ask(SIOCSIFHWADDR, request);
  }

  /** Makes an interface a port of a bridge; -EBUSY if it is one already. */
  addToBridge(bridge: string, name: string): number {
    const index = this.indexOf(name);
    if (index < 0) return index;
    const request = requestFor(bridge);
    request.ifr_ifindex = index;
    return this.#ask(SIOCBRADDIF, request);
  }

  close(): void {
    close(this.#socket);
  }

  #ask(request: IoctlRequest, argument: ViewOf<typeof ifreq>): number {
    return tryIoctl(this.#socket, request, argument.$bytes);
  }
}

import { readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { EACCES, EBUSY, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, errnoName } from '../errno.ts';
import { EPOLLET, EPOLLIN, EPOLLOUT } from '../events/epoll.ts';
import type { EventLoop, ReadyHandler, Watch } from '../events/event-loop.ts';
import { close, type Fd, open, tryReadv, tryWritev } from '../libc/descriptors.ts';
import { ioctl, tryIoctl } from '../libc/ioctl.ts';
import { type Closable, Owner } from '../ownership.ts';
import { SystemError } from '../system-error.ts';
import { NetworkInterfaces, requestFor } from './network-interface.ts';
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_TAP,
  IFF_VNET_HDR,
  IFNAMSIZ,
  TUNSETIFF,
  TUNSETOFFLOAD,
  TUNSETVNETHDRSZ,
  TUNSETVNETLE,
} from './tap-abi.ts';

/** Bytes of the virtio-net header in front of each packet (Virtio 1.2, 5.1.6). */
const vnetHeaderBytes = 12;

export type TapFailure =
  | 'no-driver'
  | 'no-permission'
  | 'bad-name'
  | 'not-a-tap'
  | 'busy'
  | 'bad-mtu'
  | 'bad-bridge'
  | 'other';

/** A TAP cannot be had. The message says what to do about it. */
export class TapError extends Error {
  readonly code = 'TAP';
  readonly failure: TapFailure;

  constructor(failure: TapFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TapError';
    this.failure = failure;
  }
}

export interface TapOptions {
  readonly name: string;
  /** MTU to set; as it is if not given. */
  readonly mtu?: number;
  /** Ethernet address to give to a TAP that is made; a random one if not given. One that was there keeps its own. */
  readonly address?: Uint8Array;
  /** Bridge to become a port of. */
  readonly bridge?: string;
}

/**
 * A TAP: the host's end of a guest's network card. Reads and writes are Ethernet frames with a virtio-net header in
 * front, and never block.
 *
 * One that did not exist is made, and is gone again once the descriptor is closed: the kernel removes a TAP with its
 * last user unless someone made it persistent.
 */
export class Tap implements Closable {
  readonly name: string;
  /** Opened by us, closed by us; other threads may use it meanwhile. */
  readonly fd: Fd;
  /** It did not exist before. */
  readonly made: boolean;
  #open = true;

  /** @throws TapError with the remedy */
  constructor(options: TapOptions, device = '/dev/net/tun') {
    const { name, mtu, address, bridge } = options;
    checkName(name, 'TAP');
    if (bridge !== undefined) checkName(bridge, 'bridge');
    this.name = name;
    const failed = new Owner();
    const interfaces = new NetworkInterfaces();
    try {
      this.made = interfaces.indexOf(name) === -ENODEV;
      this.fd = openDevice(device);
      failed.defer(() => close(this.fd));
      attach(this.fd, name, this.made);
      ioctl(this.fd, TUNSETVNETHDRSZ, int(vnetHeaderBytes), name);
      ioctl(this.fd, TUNSETVNETLE, int(1), name);
      // A TAP of someone else may have been left with anything.
      ioctl(this.fd, TUNSETOFFLOAD, 0, name);
      if (mtu !== undefined) checkMtu(name, mtu, interfaces.setMtu(name, mtu));
      // Before it is in a bridge, which may take it for its own.
      if (address !== undefined && this.made) checkAddress(name, interfaces.setAddress(name, address));
      if (bridge !== undefined) join(interfaces, name, bridge);
      checkUp(name, interfaces.bringUp(name));
    } catch (error) {
      failed.close();
      throw error;
    } finally {
      interfaces.close();
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    close(this.fd);
  }
}

/** A TAP as a thread reads and writes it. Does not own the descriptor. */
export class TapPort {
  readonly #fd: Fd;
  #watch: Watch | undefined;

  constructor(fd: Fd) {
    this.#fd = fd;
  }

  /** Has `handler` told by an edge when there are packets, or packets are taken again. The caller closes the watch. */
  watch(loop: EventLoop, handler: ReadyHandler): Watch {
    this.#watch = loop.watch(this.#fd, EPOLLIN | EPOLLOUT | EPOLLET, handler);
    return this.#watch;
  }

  /** Whether it is told of packets; at first it is. If there are some already, it is told of those at once. */
  listen(isWanted: boolean): void {
    this.#watch?.change((isWanted ? EPOLLIN : 0) | EPOLLOUT | EPOLLET);
  }

  /** One packet into the `count` struct iovec at `iovAddress`; its bytes, or the negative errno. Hot path. */
  readv(iovAddress: number, count: number): number {
    return tryReadv(this.#fd, iovAddress, count);
  }

  /** One packet from the `count` struct iovec at `iovAddress`; its bytes, or the negative errno. Hot path. */
  writev(iovAddress: number, count: number): number {
    return tryWritev(this.#fd, iovAddress, count);
  }

  /** What whoever reads copes with: TUN_F bits. 0, or the negative errno. */
  setOffload(bits: number): number {
    return tryIoctl(this.#fd, TUNSETOFFLOAD, bits);
  }
}

function checkName(name: string, what: string): void {
  const longest = IFNAMSIZ - 1;
  if (Buffer.byteLength(name) > longest) {
    throw new TapError('bad-name', `the ${what} name ${name} is too long: an interface has ${longest} bytes at most`);
  }
  // What the kernel refuses, and the percent sign, which it would replace by a number.
  if (/^\.{0,2}$|[\s/:%\0]/.test(name)) {
    throw new TapError(
      'bad-name',
      `${JSON.stringify(name)} is no name for a ${what}: use letters and digits, as in tap0`,
    );
  }
}

function openDevice(path: string): Fd {
  const O_RDWR = 2;
  const O_NONBLOCK = 0o4000;
  try {
    return open(path, O_RDWR | O_NONBLOCK);
  } catch (cause) {
    if (!(cause instanceof SystemError)) throw cause;
    switch (cause.errno) {
      case ENOENT:
      case ENODEV:
        throw new TapError('no-driver', `${path} does not exist, so there can be no TAP: modprobe tun`, { cause });
      case EACCES:
      case EPERM:
        throw new TapError('no-permission', `no permission to open ${path}: run as root, or chmod 0666 ${path}`, {
          cause,
        });
      default:
        throw new TapError('other', `cannot open ${path}: ${cause.code}`, { cause });
    }
  }
}

function attach(fd: Fd, name: string, made: boolean): void {
  const request = requestFor(name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  const result = tryIoctl(fd, TUNSETIFF, request.$bytes);
  if (result >= 0) return;
  const cause = new SystemError(TUNSETIFF.name, -result, name);
  switch (-result) {
    case EPERM:
    case EACCES: {
      const message = made
        ? `no permission to make the TAP ${name}: run as root, or have it made: ip tuntap add ${name} mode tap user $USER`
        : `no permission to use the TAP ${name}: run as root or as the user it was made for`;
      throw new TapError('no-permission', message, { cause });
    }
    case EBUSY:
      throw new TapError('busy', `the TAP ${name} is in use by another process: end that one, or choose another TAP`, {
        cause,
      });
    case EINVAL:
      throw new TapError('not-a-tap', `${whatItIs(name)}: choose another name, or remove it: ip link delete ${name}`, {
        cause,
      });
    default:
      throw new TapError('other', `cannot use the TAP ${name}: ${cause.code}`, { cause });
  }
}

/** What an interface is that the kernel does not let us have as a TAP. */
function whatItIs(name: string): string {
  try {
    const flags = Number(readFileSync(`/sys/class/net/${name}/tun_flags`, 'latin1'));
    if ((flags & IFF_TAP) === 0) return `the interface ${name} is a TUN, not a TAP`;
    if ((flags & IFF_MULTI_QUEUE) !== 0)
      return `the TAP ${name} was made with multi_queue, which this program does not use`;
    return `the TAP ${name} was made with other flags`;
  } catch {
    return `the interface ${name} exists and is no TAP`;
  }
}

function checkMtu(name: string, mtu: number, result: number): void {
  if (result >= 0) return;
  const cause = new SystemError('SIOCSIFMTU', -result, name);
  switch (-result) {
    case EINVAL:
      throw new TapError('bad-mtu', `the TAP ${name} cannot have an MTU of ${mtu}: a TAP has 68 to 65521`, { cause });
    case EPERM:
      throw new TapError(
        'no-permission',
        `no permission to set the MTU of ${name}: run as root, or have it set: ip link set ${name} mtu ${mtu}`,
        { cause },
      );
    default:
      throw new TapError('other', `cannot set the MTU of ${name} to ${mtu}: ${cause.code}`, { cause });
  }
}

function checkAddress(name: string, result: number): void {
  if (result >= 0) return;
  const cause = new SystemError('SIOCSIFHWADDR', -result, name);
  throw new TapError('other', `cannot set the address of ${name}: ${cause.code}`, { cause });
}

function checkUp(name: string, result: number): void {
  if (result >= 0) return;
  const cause = new SystemError('SIOCSIFFLAGS', -result, name);
  if (result === -EPERM) {
    throw new TapError(
      'no-permission',
      `no permission to bring ${name} up: run as root, or have it done: ip link set ${name} up`,
      { cause },
    );
  }
  throw new TapError('other', `cannot bring ${name} up: ${cause.code}`, { cause });
}

function join(interfaces: NetworkInterfaces, name: string, bridge: string): void {
  const result = interfaces.addToBridge(bridge, name);
  if (result >= 0) return;
  const cause = new SystemError('SIOCBRADDIF', -result, bridge);
  switch (-result) {
    case ENODEV:
      throw new TapError('bad-bridge', `there is no bridge ${bridge}: ip link add ${bridge} type bridge`, { cause });
    case EOPNOTSUPP:
    case EINVAL:
      throw new TapError('bad-bridge', `the interface ${bridge} is no bridge: name one that is`, { cause });
    case EBUSY: {
      const master = masterOf(name);
      if (master === bridge) return;
      const remedy = `take it out: ip link set ${name} nomaster`;
      throw new TapError(
        'bad-bridge',
        `the TAP ${name} is a port of ${master ?? 'another bridge'} already: ${remedy}`,
        {
          cause,
        },
      );
    }
    case EPERM:
      throw new TapError(
        'no-permission',
        `no permission to put ${name} into ${bridge}: run as root, or have it done: ip link set ${name} master ${bridge}`,
        { cause },
      );
    default:
      throw new TapError('other', `cannot put ${name} into the bridge ${bridge}: ${errnoName(-result)}`, { cause });
  }
}

function masterOf(name: string): string | undefined {
  try {
    return basename(readlinkSync(`/sys/class/net/${name}/master`));
  } catch {
    return undefined;
  }
}

/** An int, for an ioctl that takes its address. */
function int(value: number): Uint8Array {
  return new Uint8Array(new Int32Array([value]).buffer);
}

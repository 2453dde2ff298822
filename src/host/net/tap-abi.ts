import { at, bytes, s32, struct, u16 } from '../layout.ts';
import type { IoctlRequest } from '../libc/ioctl.ts';

/**
 * The kernel's interface to TAPs and network interfaces: <linux/if_tun.h>, <linux/sockios.h>, <linux/if.h>.
 * A test compares all of it with the C headers of the machine.
 */

/** Bytes of an interface's name, with the zero that ends it. */
export const IFNAMSIZ = 16;

/** Family of an Ethernet address: ARPHRD_ETHER of <linux/if_arp.h>. */
export const ARPHRD_ETHER = 1;

/** struct ifreq; what follows the name is a union. */
export const ifreq = struct(
  'ifreq',
  {
    ifr_name: bytes(16),
    ifr_flags: at(16, u16),
    ifr_mtu: at(16, s32),
    ifr_ifindex: at(16, s32),
    /** struct sockaddr: family, then the address. */
    ifr_hwaddr: at(16, bytes(16)),
  },
  40,
);

export const IFF_UP = 0x1;
export const IFF_TAP = 0x2;
export const IFF_NO_PI = 0x1000;
export const IFF_VNET_HDR = 0x4000;
export const IFF_MULTI_QUEUE = 0x100;

export const TUNSETIFF: IoctlRequest = { name: 'TUNSETIFF', number: 0x400454ca };
export const TUNSETVNETHDRSZ: IoctlRequest = { name: 'TUNSETVNETHDRSZ', number: 0x400454d8 };
export const TUNSETVNETLE: IoctlRequest = { name: 'TUNSETVNETLE', number: 0x400454dc };
export const TUNSETOFFLOAD: IoctlRequest = { name: 'TUNSETOFFLOAD', number: 0x400454d0 };

/** What TUNSETOFFLOAD takes: the reader of the TAP copes with packets whose checksum is not filled in yet... */
export const TUN_F_CSUM = 0x01;
/** ...and with TCP segments of up to 64 KiB, over IPv4, over IPv6, with congestion marks. All need the checksum bit. */
export const TUN_F_TSO4 = 0x02;
export const TUN_F_TSO6 = 0x04;
export const TUN_F_TSO_ECN = 0x08;

export const SIOCGIFFLAGS: IoctlRequest = { name: 'SIOCGIFFLAGS', number: 0x8913 };
export const SIOCSIFFLAGS: IoctlRequest = { name: 'SIOCSIFFLAGS', number: 0x8914 };
export const SIOCGIFMTU: IoctlRequest = { name: 'SIOCGIFMTU', number: 0x8921 };
export const SIOCSIFMTU: IoctlRequest = { name: 'SIOCSIFMTU', number: 0x8922 };
export const SIOCSIFHWADDR: IoctlRequest = { name: 'SIOCSIFHWADDR', number: 0x8924 };
export const SIOCGIFINDEX: IoctlRequest = { name: 'SIOCGIFINDEX', number: 0x8933 };
export const SIOCBRADDIF: IoctlRequest = { name: 'SIOCBRADDIF', number: 0x89a2 };

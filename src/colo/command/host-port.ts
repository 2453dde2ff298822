import { isIPv6 } from 'node:net';

/** Where somebody is reached. IPv6 addresses have no brackets here. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/**
 * Reads HOST:PORT, ADDRESS:PORT or [ADDRESS]:PORT.
 *
 * @param example to show to whoever wrote something else
 * @returns what is wrong with `text`, if something is
 */
export function parseHostPort(text: string, example: string): HostPort | string {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^[\]]*)):(\d{1,5})$/s.exec(text) ?? [];
  if (digits === undefined) return `give HOST:PORT, such as ${example}`;
  const port = Number(digits);
  if (port < 1 || port > 65_535) return 'a port is 1 to 65535';
  if (bracketed !== undefined) {
    return isIPv6(bracketed) ? { host: bracketed, port } : `"${bracketed}" is no IPv6 address`;
  }
  const host = plain ?? '';
  if (host.includes(':')) return 'an IPv6 address is in brackets, such as [2001:db8::1]:7000';
  if (!/^[\w-]+(\.[\w-]+)*\.?$/.test(host) || host.length > 253) return `give HOST:PORT, such as ${example}`;
  return { host, port };
}

/** Such as `b.example:7000` and `[2001:db8::1]:7000`. */
export function showHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

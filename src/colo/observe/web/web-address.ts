import { ConfigError } from '../../../vmm/config/config.ts';
import { type HostPort, parseHostPort, showHostPort } from '../../command/host-port.ts';

/** Whoever gives only a port wants nobody on other hosts to see it. */
const ownHost = '127.0.0.1';

/**
 * Reads PORT, HOST:PORT or [ADDRESS]:PORT.
 *
 * @param flag for the message, such as `--metrics`
 * @throws ConfigError
 */
export function parseWebAddress(flag: string, text: string): HostPort {
  const bare = /^\d+$/.test(text);
  const found = parseHostPort(bare ? `${ownHost}:${text}` : text, '127.0.0.1:9100');
  if (typeof found !== 'string') return found;
  const says = bare ? 'a port is 1 to 65535' : `${found}; a port alone is one of 127.0.0.1`;
  throw new ConfigError(`${flag} ${text}: ${says}`);
}

/** Why nothing can be served there, in a sentence. */
export function whyNotServed(flag: string, at: HostPort, { code, message }: NodeJS.ErrnoException): string {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another program has this port; give another one',
    EADDRNOTAVAIL: 'this host has no such address; give one of its own, or a port alone for 127.0.0.1',
    EACCES: 'only root may serve a port below 1024; give another one',
    ENOTFOUND: 'no host of that name is known here; give an address of this host',
    EAI_AGAIN: 'the name cannot be looked up now; give an address of this host',
  };
  return `${flag} ${showHostPort(at)}: ${reasons[code ?? ''] ?? message}`;
}

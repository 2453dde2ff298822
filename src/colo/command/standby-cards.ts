import { ENODEV } from '../../host/errno.ts';
import { NetworkInterfaces } from '../../host/net/network-interface.ts';
import { ConfigError } from '../../vmm/config/config.ts';
import type { NetConfig } from '../../vmm/config/device-config.ts';

/**
 * Where a standby's guest would speak after a takeover (spec B.14): a TAP that is there, or a bridge that a new one joins. One
 * that is made and joins nothing leads nowhere, which nobody would notice before.
 *
 * @throws ConfigError with the remedy
 */
export function checkCards(cards: readonly Pick<NetConfig, 'tap' | 'bridge'>[]): void {
  const interfaces = new NetworkInterfaces();
  const isThere = (name: string): boolean => interfaces.indexOf(name) !== -ENODEV;
  try {
    for (const { tap, bridge } of cards) {
      if (bridge !== undefined && !isThere(bridge)) {
        throw new ConfigError(`--net tap=${tap},bridge=${bridge}: this host has no bridge ${bridge}. Make it first`);
      }
      if (bridge === undefined && !isThere(tap)) {
        throw new ConfigError(
          `--net tap=${tap}: this host has no ${tap}, and one that is made would lead nowhere after a takeover. ` +
            `Say which bridge it is to join, tap=${tap},bridge=..., or make it first`,
        );
      }
    }
  } finally {
    interfaces.close();
  }
}

import { RngDevice, rngShape } from '../../src/devices/rng/rng-device.ts';
import { EIO } from '../../src/host/errno.ts';
import type { FuzzTarget, Random } from './fuzz-target.ts';

export function rngTarget(): FuzzTarget {
  let device: RngDevice | undefined;
  let moody: Random | undefined;
  return {
    name: 'rng',
    shape: rngShape,
    kinds: ['fill'],
    lifetimeCases: 1,
    device: (host, _config, ram) => {
      const source = {
        fill: (address: number, length: number): number => {
          if (moody?.(10) === 0) return moody(2) === 0 ? -EIO : moody(length);
          ram.callKernel(address, length, 'write');
          return length;
        },
      };
      device = new RngDevice({ memory: ram.memory, source, host });
      return device;
    },
    poll: (random, calm) => {
      moody = calm ? undefined : random;
      if (device?.hasMore) device.turn();
    },
    hostile: (random) => ({
      queue: 0,
      kind: 'fill',
      readable: new Uint8Array(random(10) === 0 ? random(10) : 0),
      writableBytes: random(10) === 0 ? random(65_000) : random(100),
    }),
    request: (driver) => {
      moody = undefined;
      return {
        queue: 0,
        head: driver.queues[0]?.add([{ write: 16 }]) ?? -1,
        check: ({ length }) => {
          if (length !== 16) throw new Error(`${length} random bytes of 16`);
        },
      };
    },
    close: () => {},
  };
}

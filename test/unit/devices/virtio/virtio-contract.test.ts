import type { ContractDevice } from '../../../support/contract-device.ts';
import { checkEchoState, EchoDevice, echoShape } from '../../../support/echo-device.ts';
import { virtioContract } from '../../../support/virtio-contract.ts';

// The contract itself, with a device that does nothing but keep it.
function echoing(): ContractDevice {
  return {
    shape: echoShape,
    device: (host, _config, memory) => new EchoDevice(host, memory),
    request: (driver) => {
      const head = driver.queues[0]?.add([{ read: Buffer.from('hello') }, { write: 8 }]) ?? -1;
      return {
        queue: 0,
        head,
        check: ({ bytes }) => {
          if (Buffer.from(bytes).toString() !== 'hello') throw new Error(`the echo is ${bytes}`);
        },
      };
    },
    checkState: checkEchoState,
    another: echoing,
  };
}

// Requests that stay in flight until something else lets them finish.
function holding(): ContractDevice {
  let device: EchoDevice | undefined;
  return {
    shape: echoShape,
    device: (host, _config, memory) => {
      device = new EchoDevice(host, memory);
      return device;
    },
    poll: () => device?.release(),
    request: (driver) => ({
      queue: 1,
      head: driver.queues[1]?.add([{ read: Buffer.from('hello') }]) ?? -1,
      check: ({ length }) => {
        if (length !== 0) throw new Error(`${length} bytes were written`);
      },
    }),
    checkState: checkEchoState,
    another: holding,
  };
}

virtioContract('a device that echoes', echoing);
virtioContract('a device that holds requests', holding);

import { KvmDevice } from '../../src/host/kvm/kvm-device.ts';

/** Why there is no KVM here, with the remedy; false if there is. */
export function noKvm(): string | false {
  try {
    new KvmDevice().close();
    return false;
  } catch (error) {
    return (error as Error).message;
  }
}

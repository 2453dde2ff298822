import { test } from 'tap';
import { EventFd } from '../../../../src/host/events/eventfd.ts';
import { InterruptEdge } from '../../../../src/host/kvm/interrupt-edge.ts';
import { KvmDevice } from '../../../../src/host/kvm/kvm-device.ts';
import { irqchipId, kvmIoapicState, kvmIrqchip } from '../../../../src/host/kvm/state-abi.ts';
import { VcpuRegisters } from '../../../../src/host/kvm/vcpu-registers.ts';
import { VmRegisters } from '../../../../src/host/kvm/vm-registers.ts';
import { addressOf } from '../../../../src/host/libc/memory.ts';
import { AnonymousMapping } from '../../../../src/host/mappings/mapping.ts';
import { Owner } from '../../../../src/host/ownership.ts';
import { noKvm } from '../../../support/kvm.ts';

const skip = noKvm();
const [gsi, vector] = [9, 0x51];

// Registers of a local APIC, and what one of them says.
const spurious = 0xf0;
const apicEnabled = 0x1ff;
const requested = 0x200 + (vector >> 5) * 0x10;

/** A VM whose pin is an edge-triggered interrupt of its vCPU; whether that was asked for since the last look. */
function rig(t: { teardown(clean: () => void): void }): { edge: InterruptEdge; wasRaised: () => boolean } {
  const owner = new Owner();
  t.teardown(() => owner.close());
  const vm = owner.own(owner.own(new KvmDevice()).createVm());
  vm.createIrqchip();
  const vcpu = new VcpuRegisters(vm.createVcpu(0), owner.own(new AnonymousMapping('scratch', 8)));
  const setLapic = (offset: number, value: number): void => {
    const lapic = vcpu.lapic;
    new DataView(lapic.$bytes.buffer, lapic.$bytes.byteOffset).setUint32(offset, value, true);
    vcpu.lapic = lapic;
  };
  setLapic(spurious, apicEnabled);
  const chips = new VmRegisters(vm.fd);
  const chip = new Uint8Array(new SharedArrayBuffer(kvmIrqchip.size));
  const view = new DataView(chip.buffer);
  view.setUint32(kvmIrqchip.offsets.chip_id, irqchipId.ioapic, true);
  chips.read('ioapic', addressOf(chip));
  const pin = kvmIrqchip.offsets.chip + kvmIoapicState.offsets.redirtbl + 8 * gsi;
  view.setBigUint64(pin, BigInt(vector), true);
  chips.write('ioapic', addressOf(chip));
  const wasRaised = (): boolean => {
    const { $bytes: bytes } = vcpu.lapic;
    const word = new DataView(bytes.buffer, bytes.byteOffset).getUint32(requested, true);
    setLapic(requested, 0);
    return ((word >>> (vector & 31)) & 1) !== 0;
  };
  return { edge: owner.own(new InterruptEdge(vm.interruptPin(gsi))), wasRaised };
}

test('each signal is an interrupt, at once', { skip }, async (t) => {
  const { edge, wasRaised } = rig(t);
  t.equal(wasRaised(), false);
  for (let time = 1; time <= 3; time++) {
    edge.signal();
    t.equal(wasRaised(), true, `time ${time}`);
    t.equal(wasRaised(), false, 'and none is left over');
  }
});

test('says which pin cannot be raised', { skip }, async (t) => {
  const notVm = new EventFd();
  const request = { name: 'KVM_IRQ_LINE', number: 0x4008_ae61 };
  const edge = new InterruptEdge({ vm: notVm.fd, gsi, request });
  t.teardown(() => {
    edge.close();
    notVm.close();
  });
  t.throws(() => edge.signal(), { name: 'SystemError', message: /KVM_IRQ_LINE.*GSI 9|GSI 9.*KVM_IRQ_LINE/ });
});

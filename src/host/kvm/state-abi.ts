import { array, at, bytes, s64, struct, u8, u16, u32, u64 } from '../layout.ts';
import { none, read, request, write } from './abi.ts';

/**
 * The part of KVM's interface that only saving and loading a machine needs: what {@link file://./abi.ts} has is needed
 * by every machine. Sections are those of the KVM API document.
 */

/** Section 4.38. */
export const kvmMpState = struct('kvm_mp_state', { mp_state: u32 });
/** KVM_MP_STATE_RUNNABLE */
export const mpStateRunnable = 0;

/** Section 4.42. In the standard format, not compacted; with KVM_CAP_XSAVE2 there may be more behind it. */
export const kvmXsave = struct('kvm_xsave', { region: bytes(4096) });

export const kvmXcr = struct('kvm_xcr', { xcr: u32, reserved: u32, value: u64 });
/** Section 4.44. */
export const kvmXcrs = struct('kvm_xcrs', {
  nr_xcrs: u32,
  flags: u32,
  xcrs: array(kvmXcr, 16),
  padding: bytes(128),
});

/** Section 4.33. */
export const kvmDebugregs = struct('kvm_debugregs', {
  db: array(u64, 4),
  dr6: u64,
  dr7: u64,
  flags: u64,
  reserved: bytes(72),
});

/** Section 4.31: what is on its way to the guest and in no register yet. */
export const kvmVcpuEvents = struct('kvm_vcpu_events', {
  exception_injected: u8,
  exception_nr: u8,
  exception_has_error_code: u8,
  exception_pending: u8,
  exception_error_code: u32,
  interrupt_injected: u8,
  interrupt_nr: u8,
  interrupt_soft: u8,
  interrupt_shadow: u8,
  nmi_injected: u8,
  nmi_pending: u8,
  nmi_masked: u8,
  sipi_vector: at(16, u32),
  flags: u32,
  smi_smm: u8,
  smi_pending: u8,
  smi_smm_inside_nmi: u8,
  smi_latched_init: u8,
  triple_fault_pending: u8,
  exception_has_payload: at(55, u8),
  exception_payload: u64,
});

/** An i8259. */
export const kvmPicState = struct('kvm_pic_state', {
  last_irr: u8,
  irr: u8,
  imr: u8,
  isr: u8,
  priority_add: u8,
  irq_base: u8,
  read_reg_select: u8,
  poll: u8,
  special_mask: u8,
  init_state: u8,
  auto_eoi: u8,
  rotate_on_auto_eoi: u8,
  special_fully_nested_mode: u8,
  init4: u8,
  elcr: u8,
  elcr_mask: u8,
});

export const kvmIoapicState = struct('kvm_ioapic_state', {
  base_address: u64,
  ioregsel: u32,
  id: u32,
  irr: u32,
  pad: u32,
  redirtbl: array(u64, 24),
});

/** Section 4.26. `chip` is one of the two above, by `chip_id`. */
export const kvmIrqchip = struct('kvm_irqchip', { chip_id: u32, pad: u32, chip: bytes(512) });

/** Values of `chip_id`. */
export const irqchipId = { picMaster: 0, picSlave: 1, ioapic: 2 } as const;

export const kvmPitChannelState = struct('kvm_pit_channel_state', {
  count: u32,
  latched_count: u16,
  count_latched: u8,
  status_latched: u8,
  status: u8,
  read_state: u8,
  write_state: u8,
  write_latch: u8,
  rw_mode: u8,
  mode: u8,
  bcd: u8,
  gate: u8,
  count_load_time: s64,
});
/** Section 4.72. */
export const kvmPitState2 = struct('kvm_pit_state2', {
  channels: array(kvmPitChannelState, 3),
  flags: u32,
  reserved: bytes(36),
});

/** Section 4.29. Nanoseconds, host TSC cycles. */
export const kvmClockData = struct('kvm_clock_data', {
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  host_tsc: u64,
  pad: bytes(16),
});

/** Which fields of {@link kvmClockData} are valid. */
export const clockFlag = { stable: 2, realtime: 4, hostTsc: 8 } as const;

/** Section 4.80, on a vCPU: `addr` is an address in this process. */
export const kvmDeviceAttr = struct('kvm_device_attr', { flags: u32, group: u32, attr: u64, addr: u64 });

/** Capabilities for KVM_CHECK_EXTENSION. */
export const stateCapability = {
  mpState: 14,
  vcpuEvents: 41,
  debugregs: 50,
  xsave: 55,
  xcrs: 56,
  tscControl: 60,
  getTscKhz: 61,
  kvmclockCtrl: 76,
  vcpuAttributes: 127,
} as const;

// On a VM.
export const KVM_GET_IRQCHIP = request('KVM_GET_IRQCHIP', read | write, 0x62, kvmIrqchip.size);
/** Declared as if the kernel wrote it. */
export const KVM_SET_IRQCHIP = request('KVM_SET_IRQCHIP', read, 0x63, kvmIrqchip.size);
export const KVM_SET_CLOCK = request('KVM_SET_CLOCK', write, 0x7b, kvmClockData.size);
export const KVM_GET_CLOCK = request('KVM_GET_CLOCK', read, 0x7c, kvmClockData.size);
export const KVM_GET_PIT2 = request('KVM_GET_PIT2', read, 0x9f, kvmPitState2.size);
export const KVM_SET_PIT2 = request('KVM_SET_PIT2', write, 0xa0, kvmPitState2.size);

// On a vCPU.
export const KVM_GET_CPUID2 = request('KVM_GET_CPUID2', read | write, 0x91, 8);
export const KVM_GET_MP_STATE = request('KVM_GET_MP_STATE', read, 0x98, kvmMpState.size);
export const KVM_SET_MP_STATE = request('KVM_SET_MP_STATE', write, 0x99, kvmMpState.size);
export const KVM_GET_VCPU_EVENTS = request('KVM_GET_VCPU_EVENTS', read, 0x9f, kvmVcpuEvents.size);
export const KVM_SET_VCPU_EVENTS = request('KVM_SET_VCPU_EVENTS', write, 0xa0, kvmVcpuEvents.size);
export const KVM_GET_DEBUGREGS = request('KVM_GET_DEBUGREGS', read, 0xa1, kvmDebugregs.size);
export const KVM_SET_DEBUGREGS = request('KVM_SET_DEBUGREGS', write, 0xa2, kvmDebugregs.size);
export const KVM_SET_TSC_KHZ = request('KVM_SET_TSC_KHZ', none, 0xa2);
export const KVM_GET_TSC_KHZ = request('KVM_GET_TSC_KHZ', none, 0xa3);
export const KVM_GET_XSAVE = request('KVM_GET_XSAVE', read, 0xa4, kvmXsave.size);
export const KVM_SET_XSAVE = request('KVM_SET_XSAVE', write, 0xa5, kvmXsave.size);
export const KVM_GET_XCRS = request('KVM_GET_XCRS', read, 0xa6, kvmXcrs.size);
export const KVM_SET_XCRS = request('KVM_SET_XCRS', write, 0xa7, kvmXcrs.size);
export const KVM_KVMCLOCK_CTRL = request('KVM_KVMCLOCK_CTRL', none, 0xad);
export const KVM_GET_XSAVE2 = request('KVM_GET_XSAVE2', read, 0xcf, kvmXsave.size);
export const KVM_SET_DEVICE_ATTR = request('KVM_SET_DEVICE_ATTR', write, 0xe1, kvmDeviceAttr.size);
export const KVM_GET_DEVICE_ATTR = request('KVM_GET_DEVICE_ATTR', write, 0xe2, kvmDeviceAttr.size);
export const KVM_HAS_DEVICE_ATTR = request('KVM_HAS_DEVICE_ATTR', write, 0xe3, kvmDeviceAttr.size);

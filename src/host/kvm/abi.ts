import { array, at, bytes, s32, s64, struct, u8, u16, u32, u64 } from '../layout.ts';
import type { IoctlRequest } from '../libc/ioctl.ts';

/**
 * The kernel's interface to KVM on x86-64: struct layouts and ioctl numbers of <linux/kvm.h> and <asm/kvm.h>.
 * A test compares all of it with the C headers of the machine. Sections are those of the KVM API document.
 */

/** Section 4.11. */
export const kvmRegs = struct('kvm_regs', {
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});

export const kvmSegment = struct('kvm_segment', {
  base: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

export const kvmDtable = struct('kvm_dtable', { base: u64, limit: u16, padding: array(u16, 3) });

/** Section 4.13. */
export const kvmSregs = struct('kvm_sregs', {
  cs: kvmSegment,
  ds: kvmSegment,
  es: kvmSegment,
  fs: kvmSegment,
  gs: kvmSegment,
  ss: kvmSegment,
  tr: kvmSegment,
  ldt: kvmSegment,
  gdt: kvmDtable,
  idt: kvmDtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apic_base: u64,
  interrupt_bitmap: array(u64, 4),
});

/** Section 4.22. */
export const kvmFpu = struct('kvm_fpu', {
  fpr: bytes(128),
  fcw: u16,
  fsw: u16,
  ftwx: u8,
  pad1: u8,
  last_opcode: u16,
  last_ip: u64,
  last_dp: u64,
  xmm: bytes(256),
  mxcsr: u32,
  pad2: u32,
});

/** Section 4.57. The registers lie 16 bytes apart, at their APIC offsets. */
export const kvmLapicState = struct('kvm_lapic_state', { regs: bytes(1024) });

/** Section 4.20. Entries follow the header. */
export const kvmCpuid2 = struct('kvm_cpuid2', { nent: u32, padding: u32 });
export const kvmCpuidEntry2 = struct('kvm_cpuid_entry2', {
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});

/** Section 4.18. Entries follow the header. */
export const kvmMsrs = struct('kvm_msrs', { nmsrs: u32, pad: u32 });
export const kvmMsrEntry = struct('kvm_msr_entry', { index: u32, reserved: u32, data: u64 });
/** Section 4.3. Indices follow. */
export const kvmMsrList = struct('kvm_msr_list', { nmsrs: u32 });

/** Section 4.35. */
export const kvmUserspaceMemoryRegion = struct('kvm_userspace_memory_region', {
  slot: u32,
  flags: u32,
  guest_phys_addr: u64,
  memory_size: u64,
  userspace_addr: u64,
});

/** Section 4.8. `dirty_bitmap` is an address in this process. */
export const kvmDirtyLog = struct('kvm_dirty_log', { slot: u32, padding1: u32, dirty_bitmap: u64 });
/** Section 4.117. */
export const kvmClearDirtyLog = struct('kvm_clear_dirty_log', {
  slot: u32,
  num_pages: u32,
  first_page: u64,
  dirty_bitmap: u64,
});

/** Section 4.25. */
export const kvmIrqLevel = struct('kvm_irq_level', { irq: u32, level: u32 });
/** Section 4.59. */
export const kvmIoeventfd = struct('kvm_ioeventfd', {
  datamatch: u64,
  addr: u64,
  len: u32,
  fd: s32,
  flags: u32,
  pad: bytes(36),
});
/** Section 4.71. */
export const kvmPitConfig = struct('kvm_pit_config', { flags: u32, pad: array(u32, 15) });
/** Section 4.37. */
export const kvmEnableCap = struct('kvm_enable_cap', { cap: u32, flags: u32, args: array(u64, 4), pad: bytes(64) });

/** Section 5: the page that a vCPU shares with user space. Only the fields in use; the union begins at 32. */
export const kvmRun = struct(
  'kvm_run',
  {
    request_interrupt_window: u8,
    immediate_exit: u8,
    exit_reason: at(8, u32),
    ready_for_interrupt_injection: u8,
    if_flag: u8,
    flags: u16,
    cr8: u64,
    apic_base: u64,
    io_direction: at(32, u8),
    io_size: u8,
    io_port: u16,
    io_count: u32,
    io_data_offset: u64,
    mmio_phys_addr: at(32, u64),
    mmio_data: bytes(8),
    mmio_len: u32,
    mmio_is_write: u8,
    hw_hardware_exit_reason: at(32, u64),
    fail_entry_reason: at(32, u64),
    fail_entry_cpu: u32,
    internal_suberror: at(32, u32),
    internal_ndata: u32,
    internal_data: array(u64, 16),
    system_event_type: at(32, u32),
    system_event_ndata: u32,
    system_event_data: array(s64, 16),
  },
  2352,
);

/** kvm_run.exit_reason. */
export const exitReason = {
  unknown: 0,
  exception: 1,
  io: 2,
  hypercall: 3,
  debug: 4,
  hlt: 5,
  mmio: 6,
  irqWindowOpen: 7,
  shutdown: 8,
  failEntry: 9,
  intr: 10,
  internalError: 17,
  systemEvent: 24,
} as const;

/** kvm_run.io_direction. */
export const ioDirectionOut = 1;

/** Capabilities for KVM_CHECK_EXTENSION, section 8 and 7. */
export const capability = {
  irqchip: 0,
  userMemory: 3,
  nrVcpus: 9,
  maxVcpus: 66,
  ioeventfd: 36,
  pitState2: 35,
  adjustClock: 39,
  tscDeadlineTimer: 72,
  immediateExit: 136,
  manualDirtyLogProtect2: 168,
  dirtyLogRing: 192,
  xsave2: 208,
} as const;

const KVMIO = 0xae;
/** _IOC's directions, as user space sees them. */
export const none = 0;
export const write = 1;
export const read = 2;

/** _IOC of <asm-generic/ioctl.h>: direction 2 bits, size 14, type 8, number 8. */
export function request(name: string, direction: number, number: number, size = 0): IoctlRequest {
  return { name, number: ((direction << 30) | (size << 16) | (KVMIO << 8) | number) >>> 0 };
}

// On /dev/kvm.
export const KVM_GET_API_VERSION = request('KVM_GET_API_VERSION', none, 0x00);
export const KVM_CREATE_VM = request('KVM_CREATE_VM', none, 0x01);
export const KVM_GET_MSR_INDEX_LIST = request('KVM_GET_MSR_INDEX_LIST', read | write, 0x02, kvmMsrList.size);
export const KVM_CHECK_EXTENSION = request('KVM_CHECK_EXTENSION', none, 0x03);
export const KVM_GET_VCPU_MMAP_SIZE = request('KVM_GET_VCPU_MMAP_SIZE', none, 0x04);
export const KVM_GET_SUPPORTED_CPUID = request('KVM_GET_SUPPORTED_CPUID', read | write, 0x05, kvmCpuid2.size);

// On a VM.
export const KVM_CREATE_VCPU = request('KVM_CREATE_VCPU', none, 0x41);
export const KVM_GET_DIRTY_LOG = request('KVM_GET_DIRTY_LOG', write, 0x42, kvmDirtyLog.size);
export const KVM_SET_USER_MEMORY_REGION = request(
  'KVM_SET_USER_MEMORY_REGION',
  write,
  0x46,
  kvmUserspaceMemoryRegion.size,
);
export const KVM_SET_TSS_ADDR = request('KVM_SET_TSS_ADDR', none, 0x47);
export const KVM_SET_IDENTITY_MAP_ADDR = request('KVM_SET_IDENTITY_MAP_ADDR', write, 0x48, 8);
export const KVM_CREATE_IRQCHIP = request('KVM_CREATE_IRQCHIP', none, 0x60);
export const KVM_IRQ_LINE = request('KVM_IRQ_LINE', write, 0x61, kvmIrqLevel.size);
export const KVM_CREATE_PIT2 = request('KVM_CREATE_PIT2', write, 0x77, kvmPitConfig.size);
export const KVM_IOEVENTFD = request('KVM_IOEVENTFD', write, 0x79, kvmIoeventfd.size);
export const KVM_ENABLE_CAP = request('KVM_ENABLE_CAP', write, 0xa3, kvmEnableCap.size);
export const KVM_CLEAR_DIRTY_LOG = request('KVM_CLEAR_DIRTY_LOG', read | write, 0xc0, kvmClearDirtyLog.size);

// On a vCPU.
export const KVM_RUN = request('KVM_RUN', none, 0x80);
export const KVM_GET_REGS = request('KVM_GET_REGS', read, 0x81, kvmRegs.size);
export const KVM_SET_REGS = request('KVM_SET_REGS', write, 0x82, kvmRegs.size);
export const KVM_GET_SREGS = request('KVM_GET_SREGS', read, 0x83, kvmSregs.size);
export const KVM_SET_SREGS = request('KVM_SET_SREGS', write, 0x84, kvmSregs.size);
export const KVM_GET_MSRS = request('KVM_GET_MSRS', read | write, 0x88, kvmMsrs.size);
export const KVM_SET_MSRS = request('KVM_SET_MSRS', write, 0x89, kvmMsrs.size);
export const KVM_SET_FPU = request('KVM_SET_FPU', write, 0x8d, kvmFpu.size);
export const KVM_GET_LAPIC = request('KVM_GET_LAPIC', read, 0x8e, kvmLapicState.size);
export const KVM_SET_LAPIC = request('KVM_SET_LAPIC', write, 0x8f, kvmLapicState.size);
export const KVM_SET_CPUID2 = request('KVM_SET_CPUID2', write, 0x90, kvmCpuid2.size);

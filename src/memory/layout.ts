import { GiB, gpa, KiB, MiB } from './address.ts';

/**
 * The guest-physical map: every address that firmware, devices and KVM agree on, once.
 *
 *     0x0000_0500  GDT                          0x0009_fc00  end of conventional memory
 *     0x0000_6000  PVH start info               0x000a_0000  ACPI tables, up to the RSDP
 *     0x0000_7000  zero page (boot_params)      0x000e_0000  RSDP
 *     0x0000_8ff0  boot stack, grows down       0x000e_1000  VM generation id
 *     0x0000_9000  page tables                  0x000f_fff0  reset vector
 *     0x0002_0000  kernel command line          0x0010_0000  kernel (bzImage, compressed)
 *                                               0xc000_0000  32-bit hole: MMIO, IOAPIC, LAPIC
 *                                               0x1_0000_0000  RAM goes on
 */

/** Flat descriptors for the first instructions of the kernel, which loads its own soon after. */
export const gdtAddress = gpa(0x500);
/** hvm_start_info and, behind it, its module list (PVH boot). */
export const pvhStartInfoAddress = gpa(0x6000);
/** struct boot_params (64-bit boot), or the PVH memory map: a boot uses one of the two. */
export const zeroPageAddress = gpa(0x7000);
/** Initial stack pointer; the 64-bit entry needs a few bytes of stack at most. */
export const bootStackAddress = gpa(0x8ff0);
/** PML4, PDPT and one page directory: an identity map of the first GiB in 2 MiB pages. */
export const pageTableAddress = gpa(0x9000);
/** NUL-terminated kernel command line. */
export const commandLineAddress = gpa(0x2_0000);
/** Room kept for it. A kernel's own limit is lower: 2 KiB for x86 today. */
export const commandLineMaxBytes = 64 * KiB;
/** Where the extended BIOS data area would begin: RAM below 1 MiB ends here for the guest. */
export const conventionalMemoryEnd = gpa(0x9_fc00);
/** ACPI tables other than the RSDP; reserved in the e820 map. */
export const acpiTablesAddress = gpa(0xa_0000);
/** 16-byte aligned between 0xe0000 and 0xfffff, where a scan looks for it (ACPI 6.4, 5.2.5.1). */
export const rsdpAddress = gpa(0xe_0000);
/** 16 bytes that tell a guest whether it is a copy of another one; a page of its own, reserved in the e820 map. */
export const generationIdAddress = gpa(0xe_1000);
/** Where a processor begins in real mode after a reset, as a PC maps it: F000:FFF0. */
export const resetVectorAddress = gpa(0xf_fff0);
/** RAM begins again; a bzImage's protected-mode code is loaded here (boot protocol, code32_start). */
export const highMemoryStart = gpa(MiB);

/** RAM stops here and goes on at {@link ramAbove4GiB}: the hole belongs to devices. */
export const mmioHoleStart = gpa(3 * GiB);
/** Second part of RAM in guests with more than 3 GiB. */
export const ramAbove4GiB = gpa(4 * GiB);

/** Registers of virtio devices, one page each, from here on. */
export const virtioMmioAddress = gpa(0xd000_0000);
export const virtioMmioBytes = 0x1000;

/** I/O APIC registers (in-kernel irqchip, fixed by KVM). */
export const ioApicAddress = gpa(0xfec0_0000);
/** Local APIC registers (architectural reset value of IA32_APIC_BASE). */
export const localApicAddress = gpa(0xfee0_0000);
/** One page KVM needs on Intel without unrestricted guest (KVM_SET_IDENTITY_MAP_ADDR). */
export const identityMapAddress = gpa(0xfffb_c000);
/** Three pages behind it for KVM's real-mode TSS (KVM_SET_TSS_ADDR). */
export const kvmTssAddress = gpa(0xfffb_d000);

/** Smallest RAM a machine may have: room for everything below 1 MiB and a tiny kernel. */
export const minimumRamBytes = 2 * MiB;

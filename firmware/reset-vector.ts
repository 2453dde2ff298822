import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { resetVectorAddress } from '../src/memory/layout.ts';
import { resetValue } from './acpi/tables.ts';

/**
 * Puts what a PC's BIOS has at F000:FFF0: code that resets the machine, here by the power register.
 *
 * Linux on hardware-reduced ACPI without EFI reboots by jumping there in real mode, whatever the FADT says of a reset
 * register (efi_reboot_required in arch/x86/platform/efi/quirks.c); without this it would run through zeroes for ever.
 */
export function writeResetVector(memory: GuestMemory, powerPort: number): void {
  memory.write(
    resetVectorAddress,
    Uint8Array.of(
      ...[0xb0, resetValue], // mov al, resetValue
      ...[0xba, powerPort & 0xff, powerPort >> 8], // mov dx, powerPort
      0xee, // out dx, al
      ...[0xf4, 0xeb, 0xfd], // hlt, and again if something wakes it
    ),
  );
}

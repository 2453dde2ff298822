import type { Gpa } from '../src/memory/address.ts';
import type { GuestMemory } from '../src/memory/guest-memory.ts';
import { commandLineAddress, commandLineMaxBytes } from '../src/memory/layout.ts';
import { KernelImageError } from './kernel-image-error.ts';

/** Writes the NUL-terminated command line, of at most `maxBytes` characters. */
export function writeCommandLine(memory: GuestMemory, commandLine: string, maxBytes: number): Gpa {
  const limit = Math.min(maxBytes, commandLineMaxBytes - 1);
  if (commandLine.length > limit) {
    throw new KernelImageError(
      'COMMAND_LINE_TOO_LONG',
      `the kernel command line has ${commandLine.length} characters; this kernel takes at most ${limit}`,
    );
  }
  const bytes = new Uint8Array(commandLine.length + 1);
  for (let index = 0; index < commandLine.length; index++) {
    const character = commandLine.charCodeAt(index);
    if (!(character >= 0x20 && character <= 0x7e) && character !== 0x09) {
      const shown = `U+${character.toString(16).toUpperCase().padStart(4, '0')}`;
      throw new KernelImageError(
        'COMMAND_LINE_CHARACTER',
        `the kernel command line has the character ${shown} at position ${index + 1}; only printable ASCII may stand there`,
      );
    }
    bytes[index] = character;
  }
  memory.write(commandLineAddress, bytes);
  return commandLineAddress;
}

/** True if the word `option` stands in the command line. */
export function hasOption(commandLine: string, option: string): boolean {
  return commandLine.split(/\s+/).includes(option);
}

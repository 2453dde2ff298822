import type { DiskFailure } from '../../vmm/io/io-report.ts';

/**
 * What a side says of a disk of its own that failed. Of one failure several parts of a VMM hear, and all say the same of it: then it is
 * told once.
 *
 * @param disk its id
 * @param reason such as ENOSPC
 */
export function cannotBeWritten(disk: string, reason: string): string {
  return `disk ${disk} cannot be written: ${reason}`;
}

/** The same of what the machine says of it. */
export function whyFailed({ disk, operation, reason }: DiskFailure): string {
  return operation === 'read' ? `disk ${disk} cannot be read: ${reason}` : cannotBeWritten(disk, reason);
}

import { existsSync, readFileSync } from 'node:fs';

/** The module behind a /dev/kvm that works without hardware virtualisation, whatever the processor shows. */
const softwareKvm = '/sys/module/kvm_pvm';

/** True if KVM can use hardware virtualisation (VMX or SVM), without which it only interprets guests. */
export function hasHardwareVirtualisation(
  cpuinfo = readFileSync('/proc/cpuinfo', 'utf8'),
  kvmIsSoftware = existsSync(softwareKvm),
): boolean {
  return !kvmIsSoftware && /^flags\s*:.*\b(vmx|svm)\b/m.test(cpuinfo);
}

/**
 * True if `kernel` holds Linux, compressed in a bzImage or plain. Other guests are small enough to be interpreted: memtest86+, say,
 * which comes as a bzImage too, but without anything to unpack.
 */
export function isLinux(kernel: Uint8Array): boolean {
  const bytes = Buffer.from(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  return (
    (bytes.toString('latin1', 0x202, 0x206) === 'HdrS' && !hasNoPayload(bytes)) || bytes.includes('Linux version ')
  );
}

/** The header's payload_length, which protocols before 2.08 do not have, is 0. */
function hasNoPayload(bytes: Buffer): boolean {
  const hasField = bytes.length >= 0x250 && bytes.readUInt16LE(0x206) >= 0x0208;
  return hasField && bytes.readUInt32LE(0x24c) === 0;
}

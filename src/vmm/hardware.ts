import { readFileSync } from 'node:fs';

/** True if the processor offers hardware virtualisation (VMX or SVM), without which KVM only interprets guests. */
export function hasHardwareVirtualisation(cpuinfo = readFileSync('/proc/cpuinfo', 'utf8')): boolean {
  return /^flags\s*:.*\b(vmx|svm)\b/m.test(cpuinfo);
}

/** True if `kernel` holds Linux, compressed in a bzImage or plain. Other guests are small enough to be interpreted. */
export function isLinux(kernel: Uint8Array): boolean {
  const bytes = Buffer.from(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  return bytes.toString('latin1', 0x202, 0x206) === 'HdrS' || bytes.includes('Linux version ');
}

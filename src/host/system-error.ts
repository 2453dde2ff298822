import { errnoName } from './errno.ts';

/** A system call failed. `code` is the errno name, as in Node's own errors. */
export class SystemError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  /**
   * @param syscall the call, or the ioctl, that failed: `KVM_SET_SREGS`
   * @param errno as the kernel gave it
   * @param subject what it was about: `vcpu 0`, `/dev/kvm`
   */
  constructor(syscall: string, errno: number, subject: string) {
    super(`${syscall} on ${subject}: ${errnoName(errno)}`);
    this.name = 'SystemError';
    this.code = errnoName(errno);
    this.errno = errno;
    this.syscall = syscall;
  }
}

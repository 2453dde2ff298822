import { E2BIG, EACCES, EINTR, ENOENT, EPERM } from '../errno.ts';
import type { ViewOf } from '../layout.ts';
import { close, type Fd, open } from '../libc/descriptors.ts';
import { type IoctlRequest, ioctl, tryIoctl } from '../libc/ioctl.ts';
import type { Closable } from '../ownership.ts';
import { SystemError } from '../system-error.ts';
import {
  KVM_CHECK_EXTENSION,
  KVM_CREATE_VM,
  KVM_GET_API_VERSION,
  KVM_GET_MSR_INDEX_LIST,
  KVM_GET_SUPPORTED_CPUID,
  KVM_GET_VCPU_MMAP_SIZE,
  kvmCpuid2,
  kvmCpuidEntry2,
  kvmMsrList,
} from './abi.ts';
import { Vm } from './vm.ts';

/** /dev/kvm is missing or out of reach. The message says what to do about it. */
export class KvmUnavailableError extends Error {
  readonly code = 'KVM_UNAVAILABLE';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'KvmUnavailableError';
  }
}

/** One row of a CPUID table. */
export type CpuidEntry = ViewOf<typeof kvmCpuidEntry2>;

/** The ABI every KVM since 2007 speaks (section 4.1). */
const apiVersion = 12;

/** /dev/kvm: what the machine can do, and the door to new VMs. */
export class KvmDevice implements Closable {
  readonly #fd: Fd;
  readonly #path: string;

  /** @throws KvmUnavailableError with the remedy */
  constructor(path = '/dev/kvm') {
    this.#path = path;
    this.#fd = openDevice(path);
    const version = ioctl(this.#fd, KVM_GET_API_VERSION, 0, path);
    if (version !== apiVersion) {
      close(this.#fd);
      throw new KvmUnavailableError(`${path} speaks KVM API ${version}; this program needs ${apiVersion}`);
    }
  }

  /** Value of a capability; 0 means that it is missing. */
  check(capability: number): number {
    return ioctl(this.#fd, KVM_CHECK_EXTENSION, capability, this.#path);
  }

  /** Bytes of a vCPU's run area. */
  get runAreaBytes(): number {
    return ioctl(this.#fd, KVM_GET_VCPU_MMAP_SIZE, 0, this.#path);
  }

  createVm(): Vm {
    // A signal that arrives while KVM sets up its notifier ends this call early; trying again is all it takes.
    for (let attempt = 1; ; attempt++) {
      const fd = tryIoctl(this.#fd, KVM_CREATE_VM, 0);
      if (fd >= 0) return new Vm(fd as Fd, this.runAreaBytes);
      if (fd !== -EINTR || attempt === 5) throw new SystemError('KVM_CREATE_VM', -fd, this.#path);
    }
  }

  /** CPUID rows that KVM can give a guest on this machine (section 4.46). */
  supportedCpuid(): CpuidEntry[] {
    const table = this.#list(KVM_GET_SUPPORTED_CPUID, kvmCpuid2.size, kvmCpuidEntry2.size);
    return Array.from({ length: table.count }, (_, index) =>
      kvmCpuidEntry2.over(table.bytes, kvmCpuid2.size + index * kvmCpuidEntry2.size),
    );
  }

  /** MSRs that KVM can read and write for a guest on this machine (section 4.3). */
  msrIndices(): number[] {
    const table = this.#list(KVM_GET_MSR_INDEX_LIST, kvmMsrList.size, 4);
    const view = new DataView(table.bytes.buffer);
    return Array.from({ length: table.count }, (_, index) => view.getUint32(kvmMsrList.size + index * 4, true));
  }

  close(): void {
    close(this.#fd);
  }

  /** A table that the kernel fills: a 32-bit count first; E2BIG while our guess at its length is too small. */
  #list(request: IoctlRequest, headerBytes: number, entryBytes: number): { bytes: Uint8Array; count: number } {
    for (let capacity = 256; ; capacity *= 2) {
      const bytes = new Uint8Array(headerBytes + capacity * entryBytes);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, capacity, true);
      const result = tryIoctl(this.#fd, request, bytes);
      if (result >= 0) return { bytes, count: view.getUint32(0, true) };
      if (result !== -E2BIG || capacity > 65536) throw new SystemError(request.name, -result, this.#path);
    }
  }
}

function openDevice(path: string): Fd {
  const O_RDWR = 2;
  try {
    return open(path, O_RDWR);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    switch (error.errno) {
      case ENOENT:
        throw new KvmUnavailableError(
          `${path} does not exist: load kvm_intel or kvm_amd, or turn virtualisation on in the firmware setup`,
          { cause: error },
        );
      case EACCES:
      case EPERM:
        throw new KvmUnavailableError(
          `no permission to open ${path}: become a member of its group (usermod -aG kvm ${process.env.USER ?? '$USER'}) or root`,
          { cause: error },
        );
      default:
        throw new KvmUnavailableError(`cannot open ${path}: ${error.code}`, { cause: error });
    }
  }
}

/**
 * The least a VMM can do for a guest that reads a port in a loop, in C: what our exit loop is measured against. It
 * serves the same access under the same kind of lock, and ends when the guest writes to the power register.
 */
export const cReference = `
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_int lock;
static uint32_t scratch;

static void fail(const char *what) { perror(what); exit(1); }

int main(int argc, char **argv) {
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) fail("/dev/kvm");
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) fail("KVM_CREATE_VM");
  size_t size = 16 << 20;
  uint8_t *ram = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct kvm_userspace_memory_region region = {
      .memory_size = size, .userspace_addr = (uintptr_t)ram};
  ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
  if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) fail("KVM_CREATE_IRQCHIP");
  if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) fail("KVM_SET_USER_MEMORY_REGION");
  FILE *code = fopen(argv[1], "rb");
  if (argc < 2 || !code || fread(ram + 0x100000, 1, 4096, code) == 0) fail("guest code");
  int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  size_t run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  struct kvm_run *run = mmap(0, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

  struct kvm_sregs sregs;
  ioctl(vcpu, KVM_GET_SREGS, &sregs);
  struct kvm_segment flat = {.limit = 0xffffffff, .selector = 0x10, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
  flat.type = 11; flat.selector = 8; sregs.cs = flat;
  sregs.cr0 = 0x11;
  if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0) fail("KVM_SET_SREGS");
  struct kvm_regs regs = {.rip = 0x100000, .rflags = 2};
  if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0) fail("KVM_SET_REGS");

  for (;;) {
    if (ioctl(vcpu, KVM_RUN, 0) < 0) fail("KVM_RUN");
    if (run->exit_reason != KVM_EXIT_IO) { fprintf(stderr, "exit %u\\n", run->exit_reason); return 1; }
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    if (run->io.port >= 0x3f8 && run->io.port < 0x400) {
      int free_lock = 0;
      while (!atomic_compare_exchange_weak(&lock, &free_lock, 1)) free_lock = 0;
      switch (run->io.port - 0x3f8) {
      case 7:
        if (run->io.direction == KVM_EXIT_IO_IN) *data = scratch;
        else scratch = *data;
        break;
      default: *data = 0xff;
      }
      atomic_store(&lock, 0);
    } else if (run->io.port == 0x600) return 0;
  }
}
`;

import t from 'tap';
import { debianCommand, debianVmm, guestNetwork } from '../../support/debian-guest.ts';

t.test('the VMM is ours unless the environment asks for a control', async (t) => {
  t.equal(debianVmm(undefined), 'ours');
  t.equal(debianVmm(''), 'ours');
  t.equal(debianVmm('qemu'), 'qemu');
  t.throws(() => debianVmm('bochs'), /"bochs".*ours, qemu, qemu-microvm/);
});

t.test('every VMM gets the same kernel, initrd, command line, disk and card', async (t) => {
  for (const vmm of ['ours', 'qemu', 'qemu-microvm'] as const) {
    const command = debianCommand(vmm, 'emulated', 'generic', '/dev/vdb').join(' ');
    for (const part of [
      ...['/opt/guest/generic/vmlinuz', '/opt/guest/generic/initrd.cpio', 'root=/dev/vda', '/dev/vdb'],
      ...[guestNetwork.tap, guestNetwork.mac, 'xsave'],
    ]) {
      t.ok(command.includes(part), `${vmm}: ${part}`);
    }
  }
  t.notMatch(debianCommand('qemu', 'native', 'cloud', '/dev/vdb').join(' '), /xsave/);
});

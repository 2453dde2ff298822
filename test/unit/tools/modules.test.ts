import t from 'tap';
import { formatModulesDep, loadOrder, moduleName, parseModuleIndex } from '../../../tools/images/modules.ts';

const dep = `kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/net/virtio_net.ko: kernel/net/core/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/net/core/net_failover.ko: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
kernel/arch/x86/kvm/kvm-amd.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz
kernel/arch/x86/kvm/kvm.ko.xz:
`;
const index = parseModuleIndex(dep, 'kernel/fs/ext4/ext4.ko\n');

t.test('a module is named as the kernel names it', async (t) => {
  t.equal(moduleName('kernel/arch/x86/kvm/kvm-amd.ko.xz'), 'kvm_amd');
  t.equal(moduleName('virtio-net'), 'virtio_net');
});

t.test('everything comes after what it needs, once', async (t) => {
  const names = loadOrder(index, ['virtio_net', 'virtio']).map(moduleName);
  t.same([...names].sort(), ['failover', 'net_failover', 'virtio', 'virtio_net', 'virtio_ring']);
  for (const [first, second] of [
    ['virtio_ring', 'virtio'],
    ['failover', 'net_failover'],
    ['net_failover', 'virtio_net'],
    ['virtio', 'virtio_net'],
  ]) {
    t.ok(names.indexOf(first ?? '') < names.indexOf(second ?? ''), `${first} before ${second}`);
  }
});

t.test('a module may be asked for with dashes, and be compressed', async (t) => {
  t.same(loadOrder(index, ['kvm-amd']), ['kernel/arch/x86/kvm/kvm.ko.xz', 'kernel/arch/x86/kvm/kvm-amd.ko.xz']);
});

t.test('what is part of the kernel needs no loading', async (t) => {
  t.same(loadOrder(index, ['ext4']), []);
});

t.test('refuses a module the kernel does not have', async (t) => {
  t.throws(() => loadOrder(index, ['virtio', 'floppy']), /no module "floppy"/);
});

t.test('a shortened modules.dep reads back as it was', async (t) => {
  const order = loadOrder(index, ['virtio_net']);
  const again = parseModuleIndex(formatModulesDep(index, order), '');
  t.same(loadOrder(again, ['virtio_net']), order);
  t.notOk(again.paths.has('kvm'));
});

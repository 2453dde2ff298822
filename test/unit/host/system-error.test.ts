import { test } from 'tap';
import { errnoName } from '../../../src/host/errno.ts';
import { type Fd, open } from '../../../src/host/libc/descriptors.ts';
import { ioctl } from '../../../src/host/libc/ioctl.ts';
import { SystemError } from '../../../src/host/system-error.ts';

test('names the call, its subject and the errno', async (t) => {
  const error = new SystemError('KVM_SET_SREGS', 22, 'vcpu 0');
  t.equal(error.message, 'KVM_SET_SREGS on vcpu 0: EINVAL');
  t.match(error, { code: 'EINVAL', errno: 22, syscall: 'KVM_SET_SREGS', name: 'SystemError' });
});

test('shows the number of an errno that has no name', async (t) => {
  t.equal(errnoName(99999), 'errno 99999');
});

test('comes from real calls with the errno of this very call', async (t) => {
  t.throws(() => open('/no/such/file', 0), { code: 'ENOENT', message: 'open on /no/such/file: ENOENT' });
  t.throws(() => open('/', 1), { code: 'EISDIR' });
  t.throws(() => ioctl(-1 as Fd, { name: 'KVM_RUN', number: 0xae80 }, 0, 'vcpu 3'), {
    code: 'EBADF',
    message: 'KVM_RUN on vcpu 3: EBADF',
  });
});

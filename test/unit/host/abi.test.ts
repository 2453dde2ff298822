import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { flock, statx } from '../../../src/host/files/disk-file.ts';
import * as ioUringAbi from '../../../src/host/files/io-uring-abi.ts';
import * as abi from '../../../src/host/kvm/abi.ts';
import * as stateAbi from '../../../src/host/kvm/state-abi.ts';
import type { Fields, Struct } from '../../../src/host/layout.ts';
import * as tapAbi from '../../../src/host/net/tap-abi.ts';
import * as dirtyRing from '../../../tools/bench/dirty-ring.ts';
import { noCompiler, outputOfC } from '../../support/c-program.ts';

const skip = noCompiler();

const headers = `#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <dlfcn.h>
#include <sys/stat.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/sockios.h>
`;

/** Asks C for each expression; the numbers by their names here. */
function ask(questions: ReadonlyMap<string, string>, optional = false): Map<string, number> {
  const lines = [...questions].map(([name, expression]) => {
    const line = `printf("${name} %lld\\n", (long long)(${expression}));`;
    return optional ? `#ifdef ${expression}\n${line}\n#endif` : line;
  });
  const output = outputOfC(`${headers}\nint main(void) {\n${lines.join('\n')}\nreturn 0; }\n`);
  return new Map(
    output
      .trim()
      .split('\n')
      .map((line) => line.split(' ') as [string, string])
      .map(([name, value]) => [name, Number(value)]),
  );
}

function isStruct(value: unknown): value is Struct<Fields> {
  return typeof value === 'object' && value !== null && 'offsets' in value;
}

const eventMember = /^(exception(?!_(?:has_payload|payload))|interrupt|nmi|smi|triple_fault)_/;

/** C's name of a field: kvm_run's union members carry their member's name in front here. */
function memberOf(struct: string, field: string): string {
  if (struct === 'kvm_vcpu_events') return field.replace(eventMember, '$1.');
  if (struct !== 'kvm_run') return field;
  if (field === 'fail_entry_reason') return 'fail_entry.hardware_entry_failure_reason';
  return field.replace(/^(io|mmio|hw|fail_entry|internal|system_event)_/, '$1.');
}

/** `tscDeadlineTimer` is `TSC_DEADLINE_TIMER` in C. */
function upperSnake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

const interfaces: Readonly<Record<string, unknown>> = {
  ...abi,
  ...stateAbi,
  ...ioUringAbi,
  ...tapAbi,
  ...dirtyRing,
  flock,
};
const capabilities = { ...abi.capability, ...stateAbi.stateCapability };
const structs = Object.values(interfaces).filter(isStruct);

/** C's sizes and offsets of all structs; one program tells them all. */
function askLayouts(): Map<string, number> {
  const questions = new Map<string, string>();
  for (const { name, offsets } of structs) {
    questions.set(name, `sizeof(struct ${name})`);
    for (const field of Object.keys(offsets)) {
      const member = memberOf(name, field);
      questions.set(`${name}.${field}@`, `offsetof(struct ${name}, ${member})`);
      questions.set(`${name}.${field}`, `sizeof(((struct ${name} *)0)->${member})`);
    }
  }
  return ask(questions);
}

const layouts = skip === false ? askLayouts() : new Map<string, number>();

test('compares the structs that every guest needs, and all the others that there are', async (t) => {
  const compared = structs.map(({ name }) => name);
  const needed = ['kvm_run', 'kvm_regs', 'kvm_sregs', 'kvm_userspace_memory_region', 'kvm_cpuid_entry2'];
  for (const name of [...needed, 'io_uring_params', 'io_uring_sqe', 'io_uring_cqe', 'ifreq']) {
    t.ok(compared.includes(name), name);
  }
});

for (const struct of structs) {
  test(`lays out struct ${struct.name} as the C headers do`, { skip }, async (t) => {
    t.equal(struct.size, layouts.get(struct.name), 'size');
    for (const [field, offset] of Object.entries(struct.offsets)) {
      t.equal(offset, layouts.get(`${struct.name}.${field}@`), `offset of ${field}`);
    }
  });

  test(`writes each field of struct ${struct.name} in its own width`, { skip }, async (t) => {
    for (const [field, first] of Object.entries(struct.offsets)) {
      const size = layouts.get(`${struct.name}.${field}`) as number;
      t.strictSame(changedBytes(struct, field), { first, last: first + size - 1 }, field);
    }
  });
}

/** Which bytes of a struct change when every bit of one field is set: through the public properties alone. */
function changedBytes(struct: Struct<Fields>, field: string): { first: number; last: number } {
  const ones = struct.over(new Uint8Array(struct.size).fill(0xff)) as unknown as Record<string, unknown>;
  const target = struct.allocate();
  (target as unknown as Record<string, unknown>)[field] = ones[field];
  const changed = [...target.$bytes.keys()].filter((index) => target.$bytes[index] !== 0);
  return { first: changed[0] ?? -1, last: changed.at(-1) ?? -1 };
}

test('numbers every ioctl as the C headers do', { skip }, async (t) => {
  const requests = Object.entries(interfaces).filter(([name]) => /^(KVM_|TUNSET|SIOC)/.test(name));
  const answers = ask(new Map(requests.map(([name]) => [name, `(unsigned)${name}`])));
  for (const name of ['KVM_CREATE_VM', 'KVM_RUN', 'KVM_IOEVENTFD', 'KVM_GET_DIRTY_LOG', 'TUNSETIFF', 'SIOCBRADDIF']) {
    t.ok(answers.has(name), name);
  }
  for (const [name, request] of requests) {
    t.strictSame(request, { name, number: answers.get(name) }, name);
  }
});

test('numbers exit reasons and capabilities as the C headers do', { skip }, async (t) => {
  const names = new Map([
    ...Object.keys(abi.exitReason).map((name): [string, string] => [`exit:${name}`, `KVM_EXIT_${upperSnake(name)}`]),
    ...Object.keys(capabilities).map((name): [string, string] => [`cap:${name}`, `KVM_CAP_${upperSnake(name)}`]),
    ['ioDirectionOut', 'KVM_EXIT_IO_OUT'],
  ]);
  const answers = ask(names);
  for (const [name, value] of Object.entries(abi.exitReason)) t.equal(value, answers.get(`exit:${name}`), name);
  for (const [name, value] of Object.entries(capabilities)) t.equal(value, answers.get(`cap:${name}`), name);
  t.equal(abi.ioDirectionOut, answers.get('ioDirectionOut'));
});

test('numbers the operations of io_uring as the C headers do', { skip }, async (t) => {
  const names = Object.keys(ioUringAbi.ioUringOp);
  const answers = ask(new Map(names.map((name) => [name, `IORING_OP_${name.toUpperCase()}`])));
  t.strictSame(Object.fromEntries(answers), { ...ioUringAbi.ioUringOp });
});

/** Numbers that the sources spell out under C's own name, wherever they stand. */
function constantsInSources(): Map<string, number> {
  const host = fileURLToPath(new URL('../../../src/host', import.meta.url));
  const constants = new Map<string, number>();
  for (const file of readdirSync(host, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue;
    const source = readFileSync(join(host, file), 'utf8');
    for (const [, name = '', value = ''] of source.matchAll(/const ((?:[A-Z][A-Z0-9_]+|SYS_\w+)) = ([0-9][\w]*);/g)) {
      constants.set(name, Number(value.replaceAll('_', '')));
    }
  }
  return constants;
}

test('spells out constants of the C library and the kernel with their right values', { skip }, async (t) => {
  const constants = constantsInSources();
  const answers = ask(new Map([...constants.keys()].map((name) => [name, name])), true);

  for (const [name, value] of answers) t.equal(constants.get(name), value >>> 0 === value ? value : value >>> 0, name);
  // The scan must have found what matters: a constant that is renamed is not a constant that is right.
  const expected = [
    'O_CLOEXEC',
    'O_RDWR',
    'EFD_CLOEXEC',
    'EFD_NONBLOCK',
    'EPOLL_CLOEXEC',
    'EPOLL_CTL_ADD',
    'EPOLL_CTL_DEL',
    'EPOLLIN',
    'EPOLLOUT',
    'EPOLLET',
    'MAP_SHARED',
    'MAP_PRIVATE',
    'MAP_NORESERVE',
    'PROT_READ',
    'PROT_WRITE',
    'MFD_CLOEXEC',
    'MSG_DONTWAIT',
    'MSG_NOSIGNAL',
    'SYS_gettid',
    'SYS_tgkill',
    'RTLD_DEFAULT',
    'AF_INET',
    'SOCK_DGRAM',
    'SOCK_CLOEXEC',
    'IFNAMSIZ',
    'IFF_UP',
    'IFF_TAP',
    'IFF_NO_PI',
    'IFF_VNET_HDR',
    'IFF_MULTI_QUEUE',
    'TUN_F_CSUM',
    'TUN_F_TSO4',
    'TUN_F_TSO6',
    'TUN_F_TSO_ECN',
    'KVM_MEM_LOG_DIRTY_PAGES',
    'KVM_PIT_SPEAKER_DUMMY',
    'KVM_IOEVENTFD_FLAG_DATAMATCH',
    'SYS_io_uring_setup',
    'SYS_io_uring_enter',
    'SYS_io_uring_register',
    'IORING_OFF_SQ_RING',
    'IORING_OFF_SQES',
    'IORING_SETUP_CLAMP',
    'IORING_SETUP_COOP_TASKRUN',
    'IORING_SETUP_SINGLE_ISSUER',
    'IORING_ENTER_GETEVENTS',
    'IORING_SQ_CQ_OVERFLOW',
    'IORING_CQ_EVENTFD_DISABLED',
    'IORING_FSYNC_DATASYNC',
    'FALLOC_FL_KEEP_SIZE',
    'FALLOC_FL_PUNCH_HOLE',
    'FALLOC_FL_ZERO_RANGE',
    'BLKGETSIZE64',
    'BLKSSZGET',
    'BLKPBSZGET',
    'AT_EMPTY_PATH',
    'STATX_DIOALIGN',
    'F_OFD_SETLK',
    'F_RDLCK',
    'F_WRLCK',
  ];
  t.strictSame(
    expected.filter((name) => !answers.has(name)),
    [],
    'all were compared',
  );
});

test('finds the alignment of direct I/O where the kernel puts it', { skip }, async (t) => {
  // The C library's own struct need not have the newer fields.
  const answers = ask(
    new Map([
      ['stx_mask', 'offsetof(struct statx, stx_mask)'],
      ['before', 'offsetof(struct statx, stx_mnt_id) + 8'],
      ['size', 'sizeof(struct statx)'],
    ]),
  );
  const { stx_mask, dio_mem_align, dio_offset_align } = statx.offsets;
  t.equal(stx_mask, answers.get('stx_mask'));
  t.equal(dio_mem_align, answers.get('before'));
  t.equal(dio_offset_align, dio_mem_align + 4);
  t.equal(statx.size, answers.get('size'));
});

test('knows struct sigaction, struct epoll_event and SIGRTMIN of this C library', { skip }, async (t) => {
  const answers = ask(
    new Map([
      ['handler', 'offsetof(struct sigaction, sa_handler)'],
      ['sigaction', 'sizeof(struct sigaction)'],
      ['event', 'sizeof(struct epoll_event)'],
      ['data', 'offsetof(struct epoll_event, data)'],
      ['SIGRTMIN', 'SIGRTMIN'],
    ]),
  );
  // As handleSignalWith, Epoll and kick assume.
  t.strictSame(Object.fromEntries(answers), { handler: 0, sigaction: 152, event: 12, data: 4, SIGRTMIN: 34 });
});

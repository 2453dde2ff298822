import { array, at, s32, struct, u8, u16, u32, u64 } from '../layout.ts';

/** The kernel's interface of io_uring (linux/io_uring.h), as much of it as we use; newer fields are left out. */

export const io_sqring_offsets = struct(
  'io_sqring_offsets',
  {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
  },
  40,
);

export const io_cqring_offsets = struct(
  'io_cqring_offsets',
  {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
  },
  40,
);

export const io_uring_params = struct('io_uring_params', {
  sq_entries: u32,
  cq_entries: u32,
  flags: u32,
  sq_thread_cpu: u32,
  sq_thread_idle: u32,
  features: u32,
  wq_fd: u32,
  resv: array(u32, 3),
  sq_off: io_sqring_offsets,
  cq_off: io_cqring_offsets,
});

/** A submission. Unions by the members that reads, writes, fsync and fallocate use. */
export const io_uring_sqe = struct(
  'io_uring_sqe',
  { opcode: u8, flags: u8, ioprio: u16, fd: s32, off: u64, addr: u64, len: u32, fsync_flags: u32, user_data: u64 },
  64,
);

export const io_uring_cqe = struct('io_uring_cqe', { user_data: u64, res: at(8, s32), flags: u32 });

/** enum io_uring_op. */
export const ioUringOp = { readv: 1, writev: 2, fsync: 3, fallocate: 17 } as const;

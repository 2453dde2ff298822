import { Worker } from 'node:worker_threads';
import { test } from 'tap';
import { IoBus } from '../../../../src/devices/io-bus.ts';
import { exitReason, kvmRegs, kvmRun, kvmSregs } from '../../../../src/host/kvm/abi.ts';
import type { Vcpu } from '../../../../src/host/kvm/vcpu.ts';
import { phase, request } from '../../../../src/vmm/thread/thread-control.ts';
import type { GuestEnd } from '../../../../src/vmm/vcpu/guest-end.ts';
import { VcpuControl } from '../../../../src/vmm/vcpu/vcpu-control.ts';
import { runVcpuLoop } from '../../../../src/vmm/vcpu/vcpu-loop.ts';

type Run = ReturnType<typeof kvmRun.allocate>;

/** What the loop did with a sequence of exits. */
interface Outcome {
  readonly accesses: string[];
  readonly run: Run;
  readonly ends: GuestEnd[];
  readonly control: VcpuControl;
  /** KVM_RUN calls that run the guest. */
  readonly entries: number;
  /** Those that only finish an access. */
  readonly completed: number;
}

/** Data of port accesses lies behind kvm_run, as in KVM. */
const dataOffset = 4096;

/**
 * Runs the loop over exits that are written into the run area one after the other; then the thread is told to end.
 * Devices that note every access and answer 0x12345678 are at ports and addresses below 0x1000.
 */
function loopOver(
  exits: readonly ((run: Run, data: DataView, control: VcpuControl) => 'interrupted' | undefined)[],
  requested?: GuestEnd,
  decide: (control: VcpuControl) => void = (control) => {
    control.request = request.end;
  },
): Outcome {
  const requests = requested === undefined ? [] : [requested];
  const area = new Uint8Array(8192);
  const run = kvmRun.over(area);
  const accesses: string[] = [];
  const bus = (name: string): IoBus => {
    const bus = new IoBus();
    bus.map(0, 0x1000, {
      read: (offset, size) => {
        accesses.push(`${name} read ${offset.toString(16)}/${size}`);
        return 0x1234_5678;
      },
      write: (offset, size, value) => {
        accesses.push(`${name} write ${offset.toString(16)}/${size} ${value.toString(16)}`);
      },
    });
    return bus;
  };
  const control = new VcpuControl();
  control.request = request.run;
  let entries = 0;
  let exiting = false;
  let completed = 0;
  const ends: GuestEnd[] = [];
  const vcpu = {
    index: 3,
    run: new DataView(area.buffer),
    enter: () => {
      if (exiting) {
        completed++;
        return 'interrupted';
      }
      const exit = exits[entries++];
      if (exit !== undefined) return exit(run, new DataView(area.buffer, dataOffset), control) ?? 'exit';
      control.request = request.end;
      return 'interrupted';
    },
    requestExit: () => {
      exiting = true;
    },
    clearExitRequest: () => {
      exiting = false;
    },
    registers: {
      regs: Object.assign(kvmRegs.allocate(), { rax: 0xabcn, rip: 0x1000n }),
      sregs: Object.assign(kvmSregs.allocate(), { cr0: 0x11n }),
    },
  };
  runVcpuLoop({
    vcpu: vcpu as unknown as Vcpu,
    control,
    ports: bus('port'),
    memory: bus('memory'),
    takeRequest: () => requests.shift(),
    serve: () => {
      accesses.push('served');
      control.request = request.run;
    },
    report: (end) => {
      ends.push(end);
      decide(control); // as the controller does
    },
  });
  return { accesses, run, ends, control, entries, completed };
}

function portExit(direction: 'in' | 'out', port: number, size: number, count = 1, values: readonly number[] = []) {
  return (run: Run, data: DataView) => {
    run.exit_reason = exitReason.io;
    run.io_direction = direction === 'out' ? 1 : 0;
    run.io_port = port;
    run.io_size = size;
    run.io_count = count;
    run.io_data_offset = BigInt(dataOffset);
    values.forEach((value, index) => {
      for (let byte = 0; byte < size; byte++)
        data.setUint8(index * size + byte, Math.floor(value / 2 ** (8 * byte)) & 0xff);
    });
    return undefined;
  };
}

function memoryExit(direction: 'read' | 'write', address: number, bytes: readonly number[]) {
  return (run: Run) => {
    run.exit_reason = exitReason.mmio;
    run.mmio_phys_addr = BigInt(address);
    run.mmio_len = bytes.length;
    run.mmio_is_write = direction === 'write' ? 1 : 0;
    run.mmio_data = Uint8Array.from([...bytes, ...new Array<number>(8 - bytes.length).fill(0)]);
    return undefined;
  };
}

for (const [size, value] of [
  [1, 0xfe],
  [2, 0xfedc],
  [4, 0xfedc_ba98],
] as const) {
  test(`hands a write of ${size} bytes to the port's device, unsigned`, async (t) => {
    const { accesses } = loopOver([portExit('out', 0x3f8, size, 1, [value])]);
    t.strictSame(accesses, [`port write 3f8/${size} ${value.toString(16)}`]);
  });
}

test('answers a read of a port in its own width', async (t) => {
  for (const [size, bytes] of [
    [1, [0x78, 0, 0, 0]],
    [2, [0x78, 0x56, 0, 0]],
    [4, [0x78, 0x56, 0x34, 0x12]],
  ] as const) {
    const { run, accesses } = loopOver([portExit('in', 0x64, size)]);
    t.strictSame([...run.$bytes.subarray(dataOffset, dataOffset + 4)], bytes);
    t.strictSame(accesses, [`port read 64/${size}`]);
  }
});

test('serves each element of a string access, in order', async (t) => {
  const { accesses } = loopOver([portExit('out', 0x80, 2, 3, [1, 2, 0x303])]);
  t.strictSame(accesses, ['port write 80/2 1', 'port write 80/2 2', 'port write 80/2 303']);
});

test('answers unclaimed ports with all ones', async (t) => {
  const { run } = loopOver([portExit('in', 0x2000, 2)]);
  t.strictSame([...run.$bytes.subarray(dataOffset, dataOffset + 3)], [0xff, 0xff, 0]);
});

test('cuts memory accesses into what devices take', async (t) => {
  for (const [length, expected] of [
    [1, ['800/1 1']],
    [2, ['800/2 201']],
    [3, ['800/2 201', '802/1 3']],
    [4, ['800/4 4030201']],
    [5, ['800/4 4030201', '804/1 5']],
    [6, ['800/4 4030201', '804/2 605']],
    [7, ['800/4 4030201', '804/2 605', '806/1 7']],
    [8, ['800/4 4030201', '804/4 8070605']],
  ] as const) {
    const bytes = Array.from({ length }, (_, index) => index + 1);
    const { accesses } = loopOver([memoryExit('write', 0x800, bytes)]);
    t.strictSame(
      accesses,
      expected.map((access) => `memory write ${access}`),
      `${length} bytes`,
    );
  }
});

test('answers memory reads, and all ones above 4 GiB where nobody is', async (t) => {
  const claimed = loopOver([memoryExit('read', 0x10, [0, 0, 0, 0])]);
  t.strictSame([...claimed.run.mmio_data.subarray(0, 4)], [0x78, 0x56, 0x34, 0x12]);
  const unclaimed = loopOver([memoryExit('read', 0xf_0000_0010, [0, 0, 0, 0, 0, 0, 0, 0])]);
  t.strictSame([...unclaimed.run.mmio_data], new Array(8).fill(0xff));
  t.strictSame(unclaimed.accesses, [], 'the high half of the address counts');
});

test('counts exits by kind', async (t) => {
  const { control } = loopOver([
    portExit('in', 0, 1),
    portExit('out', 0, 1, 1, [0]),
    portExit('out', 0, 1, 1, [0]),
    memoryExit('read', 0, [0]),
    memoryExit('write', 0, [0]),
    () => 'interrupted',
  ]);
  t.strictSame(control.exits, { portIn: 1, portOut: 2, mmioRead: 1, mmioWrite: 1, kick: 2, other: 0 });
});

function exitFor(reason: number, more: (run: Run) => void = () => {}) {
  return (run: Run) => {
    run.exit_reason = reason;
    more(run);
    return undefined;
  };
}

const registers = { rax: 0xabcn, rip: 0x1000n, cr0: 0x11n };

test('goes on after an exit that asks nothing', async (t) => {
  const { entries, ends } = loopOver([exitFor(exitReason.intr), exitFor(exitReason.irqWindowOpen)]);
  t.equal(entries, 3);
  t.strictSame(ends, []);
});

for (const [what, exit, end] of [
  ['a triple fault', exitFor(exitReason.shutdown), { kind: 'triple-fault', vcpu: 3, registers }],
  [
    'an internal error',
    exitFor(exitReason.internalError, (run) => {
      run.internal_suberror = 1;
      run.internal_ndata = 2;
      run.internal_data = [5n, 6n, ...new Array<bigint>(14).fill(9n)];
    }),
    { kind: 'internal-error', vcpu: 3, suberror: 1, data: [5n, 6n], registers },
  ],
  [
    'a refused entry',
    exitFor(exitReason.failEntry, (run) => {
      run.fail_entry_reason = 0x8000_0021n;
    }),
    { kind: 'entry-failure', vcpu: 3, reason: 0x8000_0021n, registers },
  ],
  ['an exit it does not know', exitFor(99), { kind: 'unknown-exit', vcpu: 3, reason: 99, registers }],
  [
    'a halt, which the kernel should have kept',
    exitFor(exitReason.hlt),
    { kind: 'unknown-exit', reason: exitReason.hlt },
  ],
  [
    'a shutdown event',
    exitFor(exitReason.systemEvent, (run) => {
      run.system_event_type = 1;
    }),
    { kind: 'power-off' },
  ],
  [
    'a reset event',
    exitFor(exitReason.systemEvent, (run) => {
      run.system_event_type = 2;
    }),
    { kind: 'reset' },
  ],
  [
    'a crash event',
    exitFor(exitReason.systemEvent, (run) => {
      run.system_event_type = 3;
    }),
    { kind: 'unknown-exit', reason: exitReason.systemEvent },
  ],
] as const) {
  test(`reports ${what}, and does not enter the guest again`, async (t) => {
    const { ends, entries } = loopOver([exit]);
    t.equal(ends.length, 1);
    t.match(ends[0], end);
    t.equal(entries, 1);
  });
}

test('does not believe more words of data than there are', async (t) => {
  const { ends } = loopOver([
    exitFor(exitReason.internalError, (run) => {
      run.internal_ndata = 0xffff_ffff;
    }),
  ]);
  t.equal((ends[0] as Extract<GuestEnd, { kind: 'internal-error' }>).data.length, 16);
});

test('reports the end that a device asked for, once its access is served', async (t) => {
  const { ends, accesses, control } = loopOver([portExit('out', 0x600, 1, 1, [0x34])], { kind: 'power-off' });
  t.strictSame(ends, [{ kind: 'power-off' }]);
  t.equal(accesses.length, 1);
  t.equal(control.request, request.end);
});

test('finishes the access by which the guest asked for an end, and reports it', async (t) => {
  const { ends, entries, completed } = loopOver([portExit('out', 0x600, 1, 1, [1])], { kind: 'reset' });
  t.strictSame(ends, [{ kind: 'reset' }]);
  t.strictSame({ entries, completed }, { entries: 1, completed: 1 });
});

test('a vCPU that is released goes on, and what was asked for is not asked again', async (t) => {
  const { ends, entries, accesses } = loopOver(
    [portExit('out', 0x505, 1, 1, [1]), portExit('out', 0x80, 1, 1, [2])],
    { kind: 'panic' },
    (control) => control.release(),
  );
  t.strictSame(ends, [{ kind: 'panic' }]);
  t.strictSame(accesses, ['port write 505/1 1', 'port write 80/1 2']);
  t.equal(entries, 3);
});

test('serves while it is parked, and runs on when it is resumed', { timeout: 60_000 }, async (t) => {
  let controller: Worker | undefined;
  const { accesses, entries } = loopOver([
    (_run, _data, control) => {
      control.request = request.park;
      // request and phase: see ThreadControl
      controller = new Worker(
        `const { workerData: cells } = require('node:worker_threads');
         for (let now; (now = Atomics.load(cells, 1)) !== ${phase.parked};) Atomics.wait(cells, 1, now);
         Atomics.store(cells, 0, (1 << 2) | ${request.serve});
         Atomics.notify(cells, 0);`,
        { eval: true, workerData: new Int32Array(control.storage) },
      );
      return 'interrupted';
    },
    portExit('out', 0x80, 1, 1, [2]),
  ]);
  t.strictSame(accesses, ['served', 'port write 80/1 2']);
  t.equal(entries, 3);
  await controller?.terminate();
});

test('serves while it is parked after its guest was at an end', async (t) => {
  const { accesses } = loopOver([portExit('out', 0x505, 1, 1, [1])], { kind: 'panic' }, (control) => {
    control.requestAnswer(control.nextQuestion);
    control.release();
  });
  t.strictSame(accesses, ['port write 505/1 1', 'served']);
});

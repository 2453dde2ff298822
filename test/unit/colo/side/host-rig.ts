import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { MessageChannel } from 'node:worker_threads';
import type { Test } from 'tap';
import { defaultSettings } from '../../../../src/colo/core/settings.ts';
import { StateEncoder } from '../../../../src/colo/machine/checkpoint-state.ts';
import type { Captured, SharedCheckpoints } from '../../../../src/colo/machine/shared-checkpoints.ts';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import type { MachineShape } from '../../../../src/colo/protocol/machine-shape.ts';
import type { Epoch } from '../../../../src/colo/protocol/numbers.ts';
import { type Calls, Calls as CallsOf, type CallTable, type Handlers } from '../../../../src/colo/side/calls.ts';
import type { HostBirth, HostListener } from '../../../../src/colo/side/host.ts';
import type { ColoCalls } from '../../../../src/colo/side/machine-calls.ts';
import { SharedRange } from '../../../../src/host/mappings/mapping.ts';
import type { SharedRam } from '../../../../src/memory/guest-ram.ts';
import { layOutRam } from '../../../../src/memory/regions.ts';
import { StateImage } from '../../../../src/vmm/vmstate/state-image.ts';
import { emptyMachineState } from '../../../support/snapshot-machine.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';

/** Soon, for nobody wants to wait for it. */
export const askAgainMs = 5;
export const ramBytes = 16 * 4096;

/** A machine without devices. */
export const shape: MachineShape = {
  cpus: 1,
  memoryBytes: ramBytes,
  cpuVendor: 'GenuineIntel',
  xsaveBytes: 4096,
  cpuFeatures: [],
  tscKhz: 2_000_000,
  tscScaling: false,
  disks: [],
  cards: [],
  rng: 'none',
};

/** What a host is born with; nobody is found silent however busy this machine is. */
export function birth(t: Test): HostBirth {
  return {
    pair: 'web',
    settings: { ...defaultSettings, detectMs: 30_000, stepMs: 30_000, checkpointDelayMs: 60_000, askAgainMs },
    security: { kind: 'plaintext' },
    arbiter: { kind: 'manual' },
    stateDirectory: temporaryFolder(t),
    holder: 'test',
    now: () => performance.now(),
  };
}

/** The thread that owns the machine: answers calls, of which it keeps the names. */
export class FakeMachineThread<Out extends CallTable> {
  /** Of the calls so far, in order. */
  readonly called: string[] = [];
  readonly calls: Calls<Out, ColoCalls>;

  constructor(t: Test, handlers: Partial<Handlers<Out>>) {
    const { port1, port2 } = new MessageChannel();
    const { called } = this;
    const all = new Proxy(handlers as Record<string, (given: unknown) => unknown>, {
      get: (target, name: string) => (given: unknown) => {
        if (name !== 'logged') called.push(name);
        return target[name]?.(given);
      },
    });
    new CallsOf(port1, all as unknown as Handlers<CallTable>);
    this.calls = new CallsOf<Out, ColoCalls>(port2, {} as Handlers<ColoCalls>);
    t.teardown(() => {
      port1.close();
      port2.close();
    });
  }
}

/** Fails the test if a host says that it cannot go on. */
export function listener(t: Test): HostListener {
  return {
    logged: () => {},
    pairs: () => {},
    protects: () => {},
    coloExit: () => {},
    failed: (error) => t.fail(error.message),
  };
}

export function someRam(t: Test): SharedRam {
  const range = new SharedRange('test', ramBytes);
  t.teardown(() => range.close());
  const regions = layOutRam(ramBytes);
  return {
    address: range.address,
    bytes: range.buffer,
    start: range.start,
    regions,
    written: regions.map(() => new SharedArrayBuffer(8)),
    tracking: new SharedArrayBuffer(4),
  };
}

/** A device state that can be read. */
export function someState(): Uint8Array {
  const image = new StateImage({ cpus: 1, msrRows: 1, cpuidRows: 1, xsaveBytes: 4096 });
  image.memoryBytes = ramBytes;
  const { serial } = emptyMachineState(ramBytes);
  const { storage, sizeBytes } = new StateEncoder().encode({
    image,
    own: { serial, pciAddress: 7 },
    devices: [],
    seed: new Uint8Array(32).fill(7),
  });
  return new Uint8Array(storage, 0, sizeBytes).slice();
}

/** Nobody listens there. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Resolves when it is so; a test that waits in vain is ended by its own timeout. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** A machine whose RAM has no pages to send. */
export const noPages: SharedCheckpoints = {
  ramBytes,
  live: [],
  regions: [],
  staging: { bytes: new SharedArrayBuffer(4096), start: 0, capacity: 1, numbers: new SharedArrayBuffer(4) },
};

/** A stop of a machine without pages. */
export function captured({ epoch }: { readonly epoch: Epoch }): Captured {
  const state = someState();
  const storage = new SharedArrayBuffer(state.length);
  new Uint8Array(storage).set(state);
  return { epoch, pages: 0, state: { storage, sizeBytes: state.length }, stoppedMs: 0, parts: {} as Captured['parts'] };
}

/** What came from the other side so far, but for heartbeats. */
export class Received {
  readonly kinds: string[] = [];
  readonly messages: Frame['message'][] = [];

  take({ message }: Frame): void {
    if (message.kind === 'heartbeat') return;
    this.kinds.push(message.kind);
    this.messages.push(message);
  }
}

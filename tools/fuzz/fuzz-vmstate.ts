import { isDeepStrictEqual } from 'node:util';
import { decode, encode } from 'cbor-x';
import { Serial } from '../../src/devices/serial.ts';
import type { SerialPortState } from '../../src/devices/serial-port-state.ts';
import { checkSerialPortState } from '../../src/devices/serial-port-state-schema.ts';
import { serialState } from '../../src/devices/serial-state.ts';
import { MmioRegisters } from '../../src/devices/virtio/mmio-registers.ts';
import { cell } from '../../src/devices/virtio/mmio-state.ts';
import type { TransportState } from '../../src/devices/virtio/transport-state.ts';
import { checkTransportState } from '../../src/devices/virtio/transport-state-schema.ts';
import { VirtioTransport } from '../../src/devices/virtio/virtio-transport.ts';
import { VmStateError } from '../../src/devices/vm-state-error.ts';
import { deviceStateChecks } from '../../src/vmm/io/io-device-state-schema.ts';
import { asLoaded } from '../../test/support/as-loaded.ts';
import { checkEchoState } from '../../test/support/echo-device.ts';
import { MockDriver } from '../../test/support/mock-driver.ts';
import { randomNumbers } from '../../test/support/random.ts';
import { FuzzFailure } from './fuzz-failure.ts';
import { type FuzzOptions, type Ground, patience, runCases, serveOne } from './fuzz-ground.ts';
import type { FuzzTarget } from './fuzz-target.ts';
import { HostileDriver } from './hostile-driver.ts';
import { spoilt } from './spoilt-state.ts';

const checks = { ...deviceStateChecks, echo: checkEchoState };

/** Most operations of a driver before a state is saved, and after one is loaded. */
const mostOperations = 16;
/** Spoilt states of a case. */
const mostStates = 6;

/** What a run should have come to. */
export const stateOutcomes: readonly string[] = [
  ...['saved active', 'saved inactive', 'saved failed', 'saved refused'],
  ...['unreadable', 'refused by its check', 'refused by the device', 'accepted'],
];

/** Saves devices that hostile drivers use, spoils their states, and loads those. @throws FuzzFailure */
export function fuzzVmState(target: FuzzTarget, options: FuzzOptions): void {
  runCases('vmstate', target, options, (ground, seed) => runCase(target, ground, seed, options));
}

function runCase(target: FuzzTarget, ground: Ground, seed: number, { coverage, log }: FuzzOptions): void {
  const { ram, state, pops, host, device } = ground;
  const random = randomNumbers(Math.imul(seed, 0x9e37_79b1));
  log?.(`seed ${seed}`);
  ram.clear();
  let failed = false;
  const transport: VirtioTransport = new VirtioTransport({
    memory: ram.memory,
    state,
    shape: target.shape,
    interrupt: { signal: () => {} },
    onFail: (reason) => {
      log?.(`  FAILED: ${reason}`);
      if (failed) throw new Error('the device failed twice without a reset between');
      failed = true;
    },
    device: (to) => {
      host.to = to;
      return device;
    },
  });
  const untilDone = (what: string, done: () => boolean): void => {
    for (let left = patience; !done(); left--) {
      if (left === 0) throw new Error(`${what} does not come to an end`);
      pops.begin();
      target.poll(random, true);
    }
  };
  const registers = new MmioRegisters(state, target.shape, {
    synchronize: () => {
      untilDone('a reset', () => transport.settle());
      if (Atomics.load(state.cells, cell.status) === 0) failed = false;
    },
    notify: (index) => {
      pops.begin();
      transport.kicked(index);
    },
  });
  const driver = new HostileDriver({ registers, transport, ram, target, random, coverage, log });
  const act = (): void => {
    for (let left = random(mostOperations); left > 0; left--) {
      pops.begin();
      driver.act();
    }
  };
  const save = (): TransportState => {
    transport.pause();
    untilDone('what is in flight', () => transport.idle);
    const saved = transport.save();
    const checked = checkTransportState(decode(encode(saved)), checks);
    if (!isDeepStrictEqual(checked, saved)) throw new Error('CBOR and the check change a state');
    coverage.count(`state saved ${saved.phase}`);
    return saved;
  };
  const load = (to: TransportState): void => {
    transport.prepareLoad(to)();
    failed = to.phase === 'failed' || to.phase === 'refused';
    if (!isDeepStrictEqual(transport.save(), asLoaded(to))) throw new Error('a state is another one once it is loaded');
  };
  if (random(8) !== 0) driver.start();
  act();
  const first = save();
  load(first);
  pops.begin();
  transport.resume();
  act();
  for (let left = 1 + random(mostStates); left > 0; left--) {
    const before = save();
    const value = spoilt(before, first, random);
    const accepted = take(value, before, transport);
    log?.(`state: ${accepted.outcome}`);
    coverage.count(`state ${accepted.outcome.replace(/:.*/, '')}`);
    if (accepted.state !== undefined) load(accepted.state);
    ram.checkGuards();
    pops.begin();
    transport.resume();
    act();
  }
  ram.memory.meddle = undefined;
  load(save());
  pops.begin();
  transport.resume();
  serveOne(target, new MockDriver(registers, ram.memory), pops, random);
  registers.write(0x70, 4, 0);
  if (failed) throw new Error('the device failed a good driver');
  ram.checkGuards();
}

/** Tries a state. @throws Error if something else than a refusal came of it */
function take(
  value: unknown,
  before: TransportState,
  transport: VirtioTransport,
): { readonly outcome: string; readonly state?: TransportState } {
  if (value === undefined) return { outcome: 'unreadable' };
  let state: TransportState;
  try {
    state = checkTransportState(value, checks);
  } catch (error) {
    return { outcome: `refused by its check: ${reasonOf(error)}` };
  }
  try {
    transport.prepareLoad(state);
    return { outcome: 'accepted', state };
  } catch (error) {
    const reason = reasonOf(error);
    if (!isDeepStrictEqual(transport.save(), before)) throw new Error(`a refusal changed the device: ${reason}`);
    return { outcome: `refused by the device: ${reason}` };
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof VmStateError) return error.message;
  throw error;
}

/** The same with a serial port. */
export function fuzzSerialState({ seed: begin, runs, coverage, started }: FuzzOptions): void {
  for (let seed = begin; seed < begin + runs; seed++) {
    started?.(seed);
    try {
      runSerialCase(seed, (outcome) => coverage.count(`state ${outcome}`));
    } catch (error) {
      throw new FuzzFailure('serial', seed, `vmstate --device serial --seed ${seed} --runs 1`, error);
    }
  }
}

function runSerialCase(seed: number, count: (outcome: string) => void): void {
  const random = randomNumbers(Math.imul(seed, 0x9e37_79b1));
  const port = new Serial(serialState(), { set: () => {} }, { ring: () => {} });
  const act = (): void => {
    for (let left = random(40); left > 0; left--) {
      const pick = random(12);
      if (pick === 0) port.receive(new Uint8Array(random(40)));
      else if (pick === 1) port.takeSent(new Uint8Array(random(40)));
      else if (pick < 7) port.read(random(8));
      else port.write(random(8), 1, random(256));
    }
  };
  act();
  const first = port.save();
  act();
  for (let left = 1 + random(mostStates); left > 0; left--) {
    const value = spoilt(port.save(), first, random);
    let state: SerialPortState | undefined;
    try {
      state = value === undefined ? undefined : checkSerialPortState(value);
      count(value === undefined ? 'unreadable' : 'accepted');
    } catch (error) {
      reasonOf(error);
      count('refused by its check');
    }
    if (state !== undefined) {
      port.load(state);
      const { interruptLevel: _, ...rest } = port.save();
      const { interruptLevel: __, ...wanted } = state;
      if (!isDeepStrictEqual(rest, wanted)) throw new Error('a state is another one once it is loaded');
    }
    act();
  }
}

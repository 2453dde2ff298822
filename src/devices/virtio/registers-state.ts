import { VmStateError } from '../vm-state-error.ts';
import { cell, feature, interrupt, type MmioState, offeredFeatures, queueCell, status } from './mmio-state.ts';
import type { QueueRegisters, RegistersState, TransportState } from './transport-state.ts';
import type { VirtioShape } from './virtio-device.ts';

/** The registers by name. Nobody may be writing them. */
export function saveRegisters(state: MmioState, shape: VirtioShape): RegistersState {
  const get = (index: number): number => Atomics.load(state.cells, index) >>> 0;
  return {
    deviceId: shape.deviceId,
    offeredFeatures: offeredFeatures(shape),
    status: get(cell.status),
    interruptStatus: get(cell.interruptStatus),
    configGeneration: get(cell.configGeneration),
    deviceFeaturesSelect: get(cell.deviceFeaturesSelect),
    driverFeaturesSelect: get(cell.driverFeaturesSelect),
    driverFeatures: wide(get(cell.driverFeaturesLow), get(cell.driverFeaturesHigh)),
    driverFeaturesBeyond: get(cell.driverFeaturesBeyond),
    queueSelect: get(cell.queueSelect),
    queues: queueRegisters(state, shape),
    config: new Uint8Array(state.config),
  };
}

/** What the driver wrote of its queues. */
export function queueRegisters(state: MmioState, shape: VirtioShape): QueueRegisters[] {
  return shape.queueSizes.map((_, index) => {
    const get = (which: number): number => (state.cells[state.queue(index) + which] as number) >>> 0;
    return {
      maxSize: state.cells[state.maxSize(index)] as number,
      size: get(queueCell.size),
      ready: get(queueCell.ready) !== 0,
      descriptors: wide(get(queueCell.descriptorsLow), get(queueCell.descriptorsHigh)),
      driver: wide(get(queueCell.driverLow), get(queueCell.driverHigh)),
      device: wide(get(queueCell.deviceLow), get(queueCell.deviceHigh)),
    };
  });
}

/** Writes all registers. What only threads share (lock, wish, handshake) stays as it is. */
export function loadRegisters(state: MmioState, saved: RegistersState): void {
  const set = (index: number, value: number): void => {
    Atomics.store(state.cells, index, value | 0);
  };
  const setWide = (low: number, high: number, value: bigint): void => {
    set(low, Number(value & 0xffff_ffffn));
    set(high, Number(value >> 32n));
  };
  state.config.set(saved.config);
  for (const [index, queue] of saved.queues.entries()) {
    const at = state.queue(index);
    set(state.maxSize(index), queue.maxSize);
    set(at + queueCell.size, queue.size);
    set(at + queueCell.ready, queue.ready ? 1 : 0);
    setWide(at + queueCell.descriptorsLow, at + queueCell.descriptorsHigh, queue.descriptors);
    setWide(at + queueCell.driverLow, at + queueCell.driverHigh, queue.driver);
    setWide(at + queueCell.deviceLow, at + queueCell.deviceHigh, queue.device);
  }
  set(cell.deviceFeaturesSelect, saved.deviceFeaturesSelect);
  set(cell.driverFeaturesSelect, saved.driverFeaturesSelect);
  setWide(cell.driverFeaturesLow, cell.driverFeaturesHigh, saved.driverFeatures);
  set(cell.driverFeaturesBeyond, saved.driverFeaturesBeyond);
  set(cell.queueSelect, saved.queueSelect);
  set(cell.configGeneration, saved.configGeneration);
  set(cell.interruptStatus, saved.interruptStatus);
  set(cell.status, saved.status);
}

/** Whether the registers are of a device that is made alike. @throws VmStateError that says what differs */
export function checkAlike(saved: RegistersState, shape: VirtioShape): void {
  const { deviceId, offeredFeatures: offered, queues, config } = saved;
  if (deviceId !== shape.deviceId) {
    throw new VmStateError('registers.deviceId', `is ${deviceId}, and the device here has ${shape.deviceId}`);
  }
  if (offered !== offeredFeatures(shape)) {
    for (const { features, key, offered: on, missing } of shape.configured ?? []) {
      if ((offered & features) === (shape.features & features)) continue;
      const [then, now] = (offered & features) === 0n ? [missing, on] : [on, missing];
      const rest = `a guest cannot be told while it runs: leave it ${then}, or start the guest anew`;
      throw new VmStateError(`${key}`, `was ${then} when the guest started, and is ${now} here, which ${rest}`);
    }
    const [there, here] = [offered.toString(16), offeredFeatures(shape).toString(16)];
    throw new VmStateError('registers.offeredFeatures', `are 0x${there}, and the device here offers 0x${here}`);
  }
  const [there, here] = [queues.map(({ maxSize }) => maxSize).join(', '), shape.queueSizes.join(', ')];
  // Those of an earlier version stay what the driver was told.
  if (there !== here && there !== shape.earlierQueueSizes?.join(', ')) {
    throw new VmStateError('registers.queues', `have up to ${there || 'no'} entries, and those here ${here}`);
  }
  if (config.length !== shape.config.length) {
    const reason = `has ${config.length} bytes, and that of the device here ${shape.config.length}`;
    throw new VmStateError('registers.config', reason);
  }
}

/** Where a driver can come (3.1.1), besides NEEDS_RESET and FAILED. */
const { acknowledge, driver, featuresOk, driverOk, needsReset, failed } = status;
const reachable: readonly number[] = [
  0,
  acknowledge,
  acknowledge | driver,
  acknowledge | driver | featuresOk,
  acknowledge | driver | featuresOk | driverOk,
];

/** Whether driver and device could have come to these registers, and to the phase. @throws VmStateError */
export function checkReachable({ registers, phase }: TransportState): void {
  const bits = registers.status;
  const wrong = (name: string, reason: string): VmStateError => new VmStateError(`registers.${name}`, reason);
  if (!reachable.includes(bits & ~(needsReset | failed))) throw wrong('status', `cannot be 0x${bits.toString(16)}`);
  if ((phase === 'inactive') === ((bits & driverOk) !== 0) || isBroken(phase) !== ((bits & needsReset) !== 0)) {
    throw wrong('status', `cannot be 0x${bits.toString(16)} when the device is ${phase}`);
  }
  if ((registers.interruptStatus & ~(interrupt.queue | interrupt.config)) !== 0) {
    throw wrong('interruptStatus', `cannot be 0x${registers.interruptStatus.toString(16)}`);
  }
  if ((bits & featuresOk) === 0) return;
  const { driverFeatures, driverFeaturesBeyond, offeredFeatures: offered } = registers;
  if ((driverFeatures & feature.version1) === 0n || (driverFeatures & ~offered) !== 0n || driverFeaturesBeyond !== 0) {
    throw wrong(
      'driverFeatures',
      `cannot be 0x${driverFeatures.toString(16)} where 0x${offered.toString(16)} is offered`,
    );
  }
}

function isBroken(phase: TransportState['phase']): boolean {
  return phase === 'failed' || phase === 'refused';
}

function wide(low: number, high: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}

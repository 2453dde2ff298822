import { VmStateError } from '../vm-state-error.ts';
import type { DeviceState } from './transport-state.ts';
import type { Virtqueue } from './virtqueue.ts';

/** A state as one of a kind of device. @throws VmStateError if it is of another */
export function ofKind<State extends DeviceState>(state: DeviceState, kind: State['kind']): State {
  if (state.kind !== kind) throw new VmStateError('device.kind', `is ${state.kind}, and the device here is ${kind}`);
  return state as State;
}

/** For devices that give each request back before they are saved. @throws VmStateError if queues are in between */
export function checkNothingTaken(queues: readonly Virtqueue[]): void {
  for (const [index, { position }] of queues.entries()) {
    const { nextAvail, nextUsed, signalled } = position;
    if (nextAvail === nextUsed && nextUsed === signalled) continue;
    const where = `avail ${nextAvail}, used ${nextUsed}, signalled ${signalled}`;
    throw new VmStateError(`positions[${index}]`, `cannot be ${where} where the device holds no requests`);
  }
}

/**
 * Whether a configuration is that of this device but for bytes [start, end), which change as it runs.
 *
 * @param names offset of each field
 * @throws VmStateError that names the field
 */
export function checkConfig(
  saved: Uint8Array,
  here: Uint8Array,
  names: Readonly<Record<string, number>>,
  [start, end]: readonly [number, number],
): void {
  for (const [at, byte] of saved.entries()) {
    if (byte === here[at] || (at >= start && at < end)) continue;
    let field = '';
    for (const [name, offset] of Object.entries(names)) if (offset <= at) field = name;
    throw new VmStateError(`registers.config.${field}`, 'is not what it is of the device here, which is another one');
  }
}

import * as v from 'valibot';
import { checkSerialPortState } from '../../devices/serial-port-state-schema.ts';
import { bytes, checkState, list, record, u32, u64 } from '../../devices/state-schema.ts';
import * as abi from '../../host/kvm/abi.ts';
import * as stateAbi from '../../host/kvm/state-abi.ts';
import { maxCpus } from '../config/config.ts';
import { checkIoDeviceStates } from '../io/io-device-state-schema.ts';
import { exactBytes, schemaOf } from './layout-schema.ts';
import { type MachineState, machineStateVersion } from './machine-state.ts';

/** More than any processor has today: AMX makes it 11 KiB. */
const mostXsaveBytes = 65_536;
const mostMsrs = 1024;
const mostCpuidRows = 256;

const vcpuState = record({
  mpState: u32,
  regs: schemaOf(abi.kvmRegs),
  sregs: schemaOf(abi.kvmSregs),
  xsave: bytes(mostXsaveBytes),
  xcrs: v.nullable(schemaOf(stateAbi.kvmXcrs)),
  debugRegs: schemaOf(stateAbi.kvmDebugregs),
  lapic: exactBytes(abi.kvmLapicState.size),
  msrs: list(record({ index: u32, value: u64 }), mostMsrs),
  tscDeadline: u64,
  cpuid: list(schemaOf(abi.kvmCpuidEntry2), mostCpuidRows),
  events: schemaOf(stateAbi.kvmVcpuEvents),
});

const machineState = record({
  version: v.literal(machineStateVersion, 'is no version'),
  memoryBytes: v.pipe(v.number('is no number'), v.safeInteger('is no number of bytes'), v.minValue(1, 'is too small')),
  vcpus: v.pipe(list(vcpuState, maxCpus), v.minLength(1, 'are none')),
  vm: record({
    picMaster: schemaOf(stateAbi.kvmPicState),
    picSlave: schemaOf(stateAbi.kvmPicState),
    ioapic: schemaOf(stateAbi.kvmIoapicState),
    pit: schemaOf(stateAbi.kvmPitState2),
  }),
  clock: record({ kvmclockNs: u64, realtimeNs: u64, tscKhz: u32, tsc: list(u64, maxCpus) }),
  serial: v.unknown(),
  pciAddress: v.optional(u32),
  devices: v.unknown(),
});

/**
 * A value that comes from outside as the state of a machine. What only the machine it is loaded into can tell is checked
 * there.
 *
 * @throws VmStateError that names the part and what is wrong with it
 */
export function checkMachineState(value: unknown): MachineState {
  const state = checkState('machine', machineStateVersion, machineState, value);
  return { ...state, serial: checkSerialPortState(state.serial), devices: checkIoDeviceStates(state.devices) };
}

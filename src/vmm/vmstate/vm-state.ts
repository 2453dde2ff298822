import { kvmIoapicState, kvmIrqchip, kvmPicState, kvmPitState2 } from '../../host/kvm/state-abi.ts';
import type { VmPart } from '../../host/kvm/vm-registers.ts';
import {
  type Fields,
  fromPlain,
  type Plain,
  type Struct,
  type StructView,
  toPlain,
  type ViewOf,
} from '../../host/layout.ts';
import type { StateImage } from './state-image.ts';

/** Interrupt controllers and the timer that all vCPUs share. */
export interface VmState {
  readonly picMaster: Plain<ViewOf<typeof kvmPicState>>;
  readonly picSlave: Plain<ViewOf<typeof kvmPicState>>;
  readonly ioapic: Plain<ViewOf<typeof kvmIoapicState>>;
  readonly pit: Plain<ViewOf<typeof kvmPitState2>>;
}

/** What an image has of the VM as a whole, as named fields. */
export function vmStateOf(image: StateImage): VmState {
  const chip = <F extends Fields>(part: VmPart, layout: Struct<F>): Plain<StructView<F>> =>
    toPlain(layout, layout.over(image.vmBytes(part), kvmIrqchip.offsets.chip));
  return {
    picMaster: chip('picMaster', kvmPicState),
    picSlave: chip('picSlave', kvmPicState),
    ioapic: chip('ioapic', kvmIoapicState),
    pit: toPlain(kvmPitState2, kvmPitState2.over(image.vmBytes('pit'))),
  };
}

/** Puts a state into an image. */
export function putVmState(image: StateImage, { picMaster, picSlave, ioapic, pit }: VmState): void {
  const { chip } = kvmIrqchip.offsets;
  image.vmBytes('picMaster').set(fromPlain(kvmPicState, picMaster).$bytes, chip);
  image.vmBytes('picSlave').set(fromPlain(kvmPicState, picSlave).$bytes, chip);
  image.vmBytes('ioapic').set(fromPlain(kvmIoapicState, ioapic).$bytes, chip);
  image.vmBytes('pit').set(fromPlain(kvmPitState2, pit).$bytes);
}

import { register as mmio } from '../../../test/support/mock-driver.ts';
import { deviceBase } from '../../../test/support/virtio-guests.ts';
import { at, NO_NOTIFY, queueAt } from './guest-memory.ts';
import type { MachineCode } from './machine-code.ts';

const vectors = { disk: 0x40, net: 0x41, button: 0x42, spurious: 0xff } as const;
export const firstGsi = 6;
const buttonGsi = 5;
const apic = {
  io: 0xfec0_0000,
  endOfInterrupt: 0xfee0_00b0,
  spurious: 0xfee0_00f0,
  oldController: 0xfee0_0350,
} as const;
const codeSelector = 0x10;
export const diskDevice = deviceBase(0);

/** Where its card is: its registers, and its interrupt. */
export interface Card {
  readonly base: number;
  readonly gsi: number;
}

/** A table of interrupts, the local APIC, and the pins of both devices and the power button. */
export function setUpInterrupts(code: MachineCode, card: Card): void {
  for (const [vector, label] of [
    [vectors.disk, 'disk interrupt'],
    [vectors.net, 'net interrupt'],
    [vectors.button, 'powerOff'],
    [vectors.spurious, 'slept'],
  ] as const) {
    const gate = at.interrupts + vector * 8;
    code
      .set('eax', { label })
      .putWord(gate, 'eax')
      .putWordValue(gate + 2, codeSelector)
      .putWordValue(gate + 4, 0x8e00) // present, 32-bit interrupt gate
      .bytes(0xc1, 0xe8, 16) // SHR EAX, 16
      .putWord(gate + 6, 'eax');
  }
  code.bytes(0x0f, 0x01, 0x1d).address('IDTR'); // LIDT
  // Pins reach the old controller, too, which nobody set up.
  code.putValue(apic.oldController, 0x1_0000).putValue(apic.spurious, 0x100 | vectors.spurious);
  for (const [pin, vector] of [
    [firstGsi, vectors.disk],
    [card.gsi, vectors.net],
    [buttonGsi, vectors.button],
  ] as const) {
    // Edge, fixed, to local APIC 0.
    for (const [register, value] of [
      [0x11 + 2 * pin, 0],
      [0x10 + 2 * pin, vector],
    ] as const) {
      code.putValue(apic.io, register).putValue(apic.io + 0x10, value);
    }
  }
}

/**
 * Sleeps until an interrupt comes, and acknowledges it. Interrupts are on only here, so that none is slept through, and a
 * handler returns to who wanted to sleep: KVM has no IRET for guests that it interprets.
 */
export function sleepFunction(code: MachineCode, card: Card): void {
  const dropFrame = (): MachineCode => code.bytes(0x83, 0xc4, 12); // ADD ESP, imm8
  code.label('sleep').bytes(0xfb, 0xf4, 0xfa).return(); // STI; HLT; CLI
  for (const [name, device] of [
    ['disk', diskDevice],
    ['net', card.base],
  ] as const) {
    code.label(`${name} interrupt`);
    dropFrame()
      .load('eax', device + offset('InterruptStatus'))
      .put(device + offset('InterruptACK'), 'eax')
      .putValue(apic.endOfInterrupt, 0)
      .return();
  }
  code.label('slept');
  dropFrame().return();
  code.label('IDTR').bytes(0xff, 0x07).word(at.interrupts);
}

/** Resets a device, agrees on VERSION_1 and `features`, gives it its queues, says DRIVER_OK. */
export function setUpDevice(
  code: MachineCode,
  base: number,
  features: number,
  queues: readonly (readonly [address: number, entries: number])[],
): void {
  const write = (name: string, value: number): MachineCode => code.putValue(base + offset(name), value);
  for (const status of [0, 1, 3]) write('Status', status);
  write('DriverFeaturesSel', 0);
  write('DriverFeatures', features);
  write('DriverFeaturesSel', 1);
  write('DriverFeatures', 1);
  write('Status', 0x0b);
  for (const [queue, [address, entries]] of queues.entries()) {
    write('QueueSel', queue);
    write('QueueNum', entries);
    for (const [name, part] of [
      ['QueueDesc', 0],
      ['QueueDriver', queueAt.avail],
      ['QueueDevice', queueAt.used],
    ] as const) {
      write(`${name}Low`, address + part);
      write(`${name}High`, 0);
    }
    write('QueueReady', 1);
  }
  write('Status', 0x0f);
}

/** Kicks the device, unless it does not want to be. */
export function notify(code: MachineCode, device: number, queue: number, number: number): MachineCode {
  const label = `notified ${queue}`;
  return code
    .fence()
    .loadWord('eax', queue + queueAt.used)
    .registerWith('and', 'eax', NO_NOTIFY)
    .jumpIfNotZero(label)
    .putValue(device + offset('QueueNotify'), number)
    .label(label);
}

export function offset(name: string): number {
  const found = mmio[name];
  if (found === undefined) throw new Error(`no register is called ${name}`);
  return found;
}

import { Serial } from '../../../src/devices/serial.ts';
import { type SerialState, serialState } from '../../../src/devices/serial-state.ts';

/** Registers by the names of Linux's 8250 driver. */
export const reg = { data: 0, ier: 1, iir: 2, fcr: 2, lcr: 3, mcr: 4, lsr: 5, msr: 6, scr: 7 } as const;

/** A serial port whose interrupt pin is watched. */
export interface SerialRig {
  readonly serial: Serial;
  readonly state: SerialState;
  /** How often the host side was woken. */
  readonly rings: number;
  /** Levels the pin was set to. */
  readonly levels: boolean[];
  readonly level: boolean;
  read(register: number): number;
  write(register: number, value: number): void;
  /** Turns the pin's gate and some interrupts on, as a driver that opens the port does. */
  enable(interrupts: number): void;
  /** What the host finds sent. */
  sent(): string;
}

export function serialRig(): SerialRig {
  const state = serialState();
  const levels: boolean[] = [];
  let rings = 0;
  const bell = {
    ring: () => {
      rings++;
    },
  };
  const serial = new Serial(state, { set: (high) => levels.push(high) }, bell);
  const write = (register: number, value: number): void => serial.write(register, 1, value);
  return {
    serial,
    state,
    get rings() {
      return rings;
    },
    levels,
    get level() {
      return levels.at(-1) ?? false;
    },
    read: (register) => serial.read(register),
    write,
    enable: (interrupts) => {
      write(reg.mcr, 0x0b); // DTR, RTS, OUT2
      write(reg.ier, interrupts);
    },
    sent: () => {
      const chunk = new Uint8Array(100_000);
      return Buffer.from(chunk.subarray(0, serial.takeSent(chunk))).toString('latin1');
    },
  };
}

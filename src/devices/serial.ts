import { Mutex } from '../host/threads/mutex.ts';
import type { InterruptPin, IoDevice } from './io-device.ts';
import type { SerialPortState } from './serial-port-state.ts';
import { cell, receiveRingBytes, type SerialState, transmitRingBytes } from './serial-state.ts';

// Register offsets (PC16550D data sheet, table II). 0 and 1 mean the divisor while LCR.DLAB is set.
const DATA = 0;
const INTERRUPT_ENABLE = 1;
const INTERRUPT_IDENTIFICATION = 2;
const LINE_CONTROL = 3;
const MODEM_CONTROL = 4;
const LINE_STATUS = 5;
const MODEM_STATUS = 6;
const SCRATCH = 7;

const IER_RECEIVE = 0x01;
const IER_TRANSMIT = 0x02;
const IER_LINE_STATUS = 0x04;
const IER_MASK = 0x0f;

const IIR_NONE = 0x01;
const IIR_TRANSMIT = 0x02;
const IIR_RECEIVE = 0x04;
const IIR_LINE_STATUS = 0x06;
const IIR_FIFO = 0xc0;

const FCR_ENABLE = 0x01;
const FCR_CLEAR_RECEIVE = 0x02;

const LCR_DLAB = 0x80;

const MCR_MASK = 0x1f;
const MCR_OUT2 = 0x08;
const MCR_LOOPBACK = 0x10;

const LSR_DATA_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_TRANSMITTER_EMPTY = 0x60;

/** Carrier, data set ready, clear to send: a terminal that is always there. */
const MSR_CONNECTED = 0xb0;

/** Bytes of port space a 16550 takes. */
export const serialPortCount = 8;

/** Wakes the host side of a port. */
export interface HostBell {
  /** The host side has something to do: bytes to print, or room for input that it holds back. */
  ring(): void;
}

/**
 * A 16550A. Any number of threads hold one of these over the same {@link SerialState}: each vCPU serves its own
 * accesses, and the host side reads output and brings input (see SerialHost).
 *
 * Bytes are sent at once, so the transmitter is empty again as soon as it has taken one, unless the host is so far
 * behind that the ring is full: then the guest waits, as it would for a slow line.
 */
export class Serial implements IoDevice {
  readonly #state: SerialState;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #lock: Mutex;
  readonly #doorbell: HostBell;
  readonly #interrupt: InterruptPin;

  constructor(state: SerialState, interrupt: InterruptPin, doorbell: HostBell) {
    this.#state = state;
    this.#cells = state.cells;
    this.#lock = new Mutex(state.cells, cell.lock);
    this.#doorbell = doorbell;
    this.#interrupt = interrupt;
  }

  read(offset: number): number {
    this.#lock.lock();
    try {
      return this.#read(offset);
    } finally {
      this.#lock.unlock();
    }
  }

  write(offset: number, _size: number, value: number): void {
    this.#lock.lock();
    try {
      this.#write(offset, value & 0xff);
    } finally {
      this.#lock.unlock();
    }
  }

  /** Host side: takes as much of `input` as there is room for, from `start`; the count taken. */
  receive(input: Uint8Array, start = 0): number {
    this.#lock.lock();
    try {
      const room = receiveRingBytes - this.#held(cell.receiveHead, cell.receiveTail);
      const count = Math.min(room, input.length - start);
      for (let index = 0; index < count; index++) this.#pushReceived(input[start + index] as number);
      this.#set(cell.hostHasInput, start + count < input.length ? 1 : 0);
      this.#updateInterrupt();
      return count;
    } finally {
      this.#lock.unlock();
    }
  }

  /**
   * Host side: moves sent bytes into `target`; the count moved. With 0 the host is taken to be asleep from now on,
   * and the doorbell will ring for the next byte.
   */
  takeSent(target: Uint8Array): number {
    this.#lock.lock();
    try {
      const held = this.#held(cell.transmitHead, cell.transmitTail);
      const count = Math.min(held, target.length);
      const tail = this.#get(cell.transmitTail);
      for (let index = 0; index < count; index++) {
        target[index] = this.#state.transmitRing[(tail + index) & (transmitRingBytes - 1)] as number;
      }
      this.#set(cell.transmitTail, (tail + count) | 0);
      this.#set(cell.hostAwake, count > 0 ? 1 : 0);
      if (held === transmitRingBytes && count > 0) {
        this.#set(cell.transmitterEmpty, 1);
        this.#updateInterrupt();
      }
      return count;
    } finally {
      this.#lock.unlock();
    }
  }

  /** Nothing of the host side is in it: who is awake, and what input is held back. */
  save(): SerialPortState {
    this.#lock.lock();
    try {
      return {
        version: 1,
        interruptEnable: this.#get(cell.interruptEnable),
        lineControl: this.#get(cell.lineControl),
        modemControl: this.#get(cell.modemControl),
        scratch: this.#get(cell.scratch),
        divisorLow: this.#get(cell.divisorLow),
        divisorHigh: this.#get(cell.divisorHigh),
        fifoEnabled: this.#get(cell.fifoEnabled) === 1,
        transmitterEmpty: this.#get(cell.transmitterEmpty) === 1,
        overrun: this.#get(cell.overrun) === 1,
        interruptLevel: this.#get(cell.interruptLevel) === 1,
        received: this.#content(cell.receiveHead, cell.receiveTail, this.#state.receiveRing),
        sent: this.#content(cell.transmitHead, cell.transmitTail, this.#state.transmitRing),
      };
    } finally {
      this.#lock.unlock();
    }
  }

  /**
   * Cannot fail. The pin is set to the level even if it has it: what is behind the pin may be new. The host side is told of
   * output, and of room for input that it holds back.
   *
   * @param state checked (see checkSerialPortState)
   */
  load(state: SerialPortState): void {
    this.#lock.lock();
    try {
      this.#set(cell.interruptEnable, state.interruptEnable);
      this.#set(cell.lineControl, state.lineControl);
      this.#set(cell.modemControl, state.modemControl);
      this.#set(cell.scratch, state.scratch);
      this.#set(cell.divisorLow, state.divisorLow);
      this.#set(cell.divisorHigh, state.divisorHigh);
      this.#set(cell.fifoEnabled, state.fifoEnabled ? 1 : 0);
      this.#set(cell.transmitterEmpty, state.transmitterEmpty ? 1 : 0);
      this.#set(cell.overrun, state.overrun ? 1 : 0);
      this.#fill(cell.receiveHead, cell.receiveTail, this.#state.receiveRing, state.received);
      this.#fill(cell.transmitHead, cell.transmitTail, this.#state.transmitRing, state.sent);
      this.#set(cell.interruptLevel, state.interruptLevel ? 1 : 0);
      this.#interrupt.set(state.interruptLevel);
      this.#updateInterrupt(); // a level that contradicts the rest does not stay
      if (state.received.length === 0) this.#askForInput();
      if (state.sent.length === 0) return;
      this.#set(cell.hostAwake, 1);
      this.#doorbell.ring();
    } finally {
      this.#lock.unlock();
    }
  }

  #read(offset: number): number {
    const divisorLatch = (this.#get(cell.lineControl) & LCR_DLAB) !== 0;
    switch (offset) {
      case DATA:
        return divisorLatch ? this.#get(cell.divisorLow) : this.#popReceived();
      case INTERRUPT_ENABLE:
        return this.#get(divisorLatch ? cell.divisorHigh : cell.interruptEnable);
      case INTERRUPT_IDENTIFICATION: {
        const cause = this.#pendingCause();
        if (cause === IIR_TRANSMIT) {
          this.#set(cell.transmitterEmpty, 0);
          this.#updateInterrupt();
        }
        return cause | (this.#get(cell.fifoEnabled) === 1 ? IIR_FIFO : 0);
      }
      case LINE_CONTROL:
        return this.#get(cell.lineControl);
      case MODEM_CONTROL:
        return this.#get(cell.modemControl);
      case LINE_STATUS: {
        const status =
          (this.#held(cell.receiveHead, cell.receiveTail) > 0 ? LSR_DATA_READY : 0) |
          (this.#get(cell.overrun) === 1 ? LSR_OVERRUN : 0) |
          (this.#transmitterFull() ? 0 : LSR_TRANSMITTER_EMPTY);
        this.#set(cell.overrun, 0);
        this.#updateInterrupt();
        return status;
      }
      case MODEM_STATUS:
        return this.#modemStatus();
      case SCRATCH:
        return this.#get(cell.scratch);
      default:
        return 0xff;
    }
  }

  #write(offset: number, value: number): void {
    const divisorLatch = (this.#get(cell.lineControl) & LCR_DLAB) !== 0;
    switch (offset) {
      case DATA:
        if (divisorLatch) this.#set(cell.divisorLow, value);
        else this.#send(value);
        break;
      case INTERRUPT_ENABLE:
        if (divisorLatch) {
          this.#set(cell.divisorHigh, value);
          break;
        }
        // Turning the transmit interrupt on raises it if the transmitter is empty: drivers start sending that way.
        if ((value & ~this.#get(cell.interruptEnable) & IER_TRANSMIT) !== 0 && !this.#transmitterFull()) {
          this.#set(cell.transmitterEmpty, 1);
        }
        this.#set(cell.interruptEnable, value & IER_MASK);
        break;
      case INTERRUPT_IDENTIFICATION: // FIFO control on writing
        this.#set(cell.fifoEnabled, value & FCR_ENABLE);
        if ((value & FCR_CLEAR_RECEIVE) !== 0) {
          this.#set(cell.receiveTail, this.#get(cell.receiveHead));
          this.#askForInput();
        }
        break;
      case LINE_CONTROL:
        this.#set(cell.lineControl, value);
        break;
      case MODEM_CONTROL:
        this.#set(cell.modemControl, value & MCR_MASK);
        break;
      case SCRATCH:
        this.#set(cell.scratch, value);
        break;
      default: // line and modem status are read-only
        break;
    }
    this.#updateInterrupt();
  }

  #send(value: number): void {
    if ((this.#get(cell.modemControl) & MCR_LOOPBACK) !== 0) {
      if (this.#held(cell.receiveHead, cell.receiveTail) < receiveRingBytes) this.#pushReceived(value);
      else this.#set(cell.overrun, 1);
      this.#set(cell.transmitterEmpty, 1);
      return;
    }
    if (this.#transmitterFull()) return; // the driver did not wait: the byte is lost, as on a real line
    const head = this.#get(cell.transmitHead);
    this.#state.transmitRing[head & (transmitRingBytes - 1)] = value;
    this.#set(cell.transmitHead, (head + 1) | 0);
    this.#set(cell.transmitterEmpty, this.#transmitterFull() ? 0 : 1);
    if (this.#get(cell.hostAwake) === 0) {
      this.#set(cell.hostAwake, 1);
      this.#doorbell.ring();
    }
  }

  #pushReceived(value: number): void {
    const head = this.#get(cell.receiveHead);
    this.#state.receiveRing[head & (receiveRingBytes - 1)] = value;
    this.#set(cell.receiveHead, (head + 1) | 0);
  }

  #popReceived(): number {
    if (this.#held(cell.receiveHead, cell.receiveTail) === 0) return 0;
    const tail = this.#get(cell.receiveTail);
    const value = this.#state.receiveRing[tail & (receiveRingBytes - 1)] as number;
    this.#set(cell.receiveTail, (tail + 1) | 0);
    if (this.#held(cell.receiveHead, cell.receiveTail) === 0) this.#askForInput();
    this.#updateInterrupt();
    return value;
  }

  #askForInput(): void {
    if (this.#get(cell.hostHasInput) === 0) return;
    this.#set(cell.hostHasInput, 0);
    this.#doorbell.ring();
  }

  /** Modem lines of a connected terminal, or in loopback our own outputs fed back. */
  #modemStatus(): number {
    const control = this.#get(cell.modemControl);
    if ((control & MCR_LOOPBACK) === 0) return MSR_CONNECTED;
    // DTR -> DSR, RTS -> CTS, OUT1 -> RI, OUT2 -> DCD
    return ((control & 1) << 5) | ((control & 2) << 3) | ((control & 4) << 4) | ((control & 8) << 4);
  }

  /** The highest of the enabled causes, as IIR shows it. */
  #pendingCause(): number {
    const enabled = this.#get(cell.interruptEnable);
    if ((enabled & IER_LINE_STATUS) !== 0 && this.#get(cell.overrun) === 1) return IIR_LINE_STATUS;
    if ((enabled & IER_RECEIVE) !== 0 && this.#held(cell.receiveHead, cell.receiveTail) > 0) return IIR_RECEIVE;
    if ((enabled & IER_TRANSMIT) !== 0 && this.#get(cell.transmitterEmpty) === 1) return IIR_TRANSMIT;
    return IIR_NONE;
  }

  /** OUT2 gates the pin on a PC, and loopback disconnects it. */
  #updateInterrupt(): void {
    const gate = this.#get(cell.modemControl) & (MCR_OUT2 | MCR_LOOPBACK);
    const level = gate === MCR_OUT2 && this.#pendingCause() !== IIR_NONE ? 1 : 0;
    if (level === this.#get(cell.interruptLevel)) return;
    this.#set(cell.interruptLevel, level);
    this.#interrupt.set(level === 1);
  }

  #transmitterFull(): boolean {
    return this.#held(cell.transmitHead, cell.transmitTail) === transmitRingBytes;
  }

  #held(head: number, tail: number): number {
    return (this.#get(head) - this.#get(tail)) | 0;
  }

  /** What a ring holds, as a copy. */
  #content(head: number, tail: number, ring: Uint8Array): Uint8Array {
    const content = new Uint8Array(this.#held(head, tail));
    const start = this.#get(tail) & (ring.length - 1);
    const end = ring.subarray(start, start + content.length);
    content.set(end);
    content.set(ring.subarray(0, content.length - end.length), end.length);
    return content;
  }

  #fill(head: number, tail: number, ring: Uint8Array, content: Uint8Array): void {
    ring.set(content);
    this.#set(tail, 0);
    this.#set(head, content.length);
  }

  // Plain access: every reader and writer holds the lock.
  #get(index: number): number {
    return this.#cells[index] as number;
  }

  #set(index: number, value: number): void {
    this.#cells[index] = value;
  }
}

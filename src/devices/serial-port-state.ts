/** A serial port, saved: what the guest can see of it, and the bytes on their way. */
export interface SerialPortState {
  readonly version: 1;
  readonly interruptEnable: number;
  readonly lineControl: number;
  readonly modemControl: number;
  readonly scratch: number;
  readonly divisorLow: number;
  readonly divisorHigh: number;
  readonly fifoEnabled: boolean;
  /** The transmitter went empty and the guest was not told yet, or has not asked. */
  readonly transmitterEmpty: boolean;
  readonly overrun: boolean;
  /** Level of the interrupt pin. */
  readonly interruptLevel: boolean;
  /** Input that the guest has not read yet. */
  readonly received: Uint8Array;
  /** Output that the host has not printed yet. */
  readonly sent: Uint8Array;
}

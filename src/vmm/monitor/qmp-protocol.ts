/** An object of QMP's. */
export type Json = Readonly<Record<string, unknown>>;

/** A command's failure, in QMP's words. */
export class QmpError extends Error {
  readonly errorClass: 'GenericError' | 'CommandNotFound';

  constructor(errorClass: QmpError['errorClass'], message: string) {
    super(message);
    this.name = 'QmpError';
    this.errorClass = errorClass;
  }
}

/** What whoever ends the machine through its monitor is called. */
export const monitorName = 'the monitor';

/** The QEMU whose monitor this one behaves like. */
export const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'colo-vmm' } as const;

/** First thing a client gets. Commands are carried out one after another, so that there is no out-of-band execution to offer. */
export const greeting: Json = { QMP: { version, capabilities: [] } };

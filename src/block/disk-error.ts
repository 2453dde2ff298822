/** A disk cannot be used as asked. The message is one sentence that names the file and the remedy. */
export class DiskError extends Error {
  readonly code = 'DISK';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DiskError';
  }
}

/** A snapshot that cannot be taken or restored: the message names the file, what is wrong and what would do. */
export class SnapshotError extends Error {
  readonly code = 'SNAPSHOT';

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SnapshotError';
  }
}

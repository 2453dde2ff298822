/** What is wrong with the files and the command line that a guest is to boot from. */
export type KernelImageErrorCode =
  | 'NOT_A_KERNEL'
  | 'WRONG_MACHINE'
  | 'COMPRESSED_KERNEL'
  | 'KERNEL_TRUNCATED'
  | 'KERNEL_CORRUPT'
  | 'KERNEL_TOO_OLD'
  | 'KERNEL_NOT_64_BIT'
  | 'KERNEL_WITHOUT_PVH'
  | 'KERNEL_LAYOUT'
  | 'KERNEL_UNPACK'
  | 'KERNEL_TOO_LARGE'
  | 'INITRD_EMPTY'
  | 'INITRD_TOO_LARGE'
  | 'COMMAND_LINE_TOO_LONG'
  | 'COMMAND_LINE_CHARACTER';

/** The guest cannot start from what it was given. The message is a sentence: the file, what is wrong, what would do. */
export class KernelImageError extends Error {
  readonly code: KernelImageErrorCode;

  constructor(code: KernelImageErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = 'KernelImageError';
    this.code = code;
  }
}

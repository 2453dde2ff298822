/** What the first bytes of a file tell about it. Nothing is ever opened by what they say: see {@link foreignFormat}. */

/** What an overlay's file of ours begins with (see overlay-file.ts). */
export const overlayMagic = 'COLOCOW\n';

/** Bytes from the start of a file that the functions here look at. */
export const headBytes = 8192;

/** Formats of disk images that are not the disk's bytes themselves: where their mark is, and what they are called. */
const marks: readonly { at: number; mark: string; name: string }[] = [
  { at: 0, mark: 'QFI\xfb', name: 'qcow2' },
  { at: 0, mark: 'QED\0', name: 'QED' },
  { at: 0, mark: 'KDMV', name: 'VMDK' },
  { at: 0, mark: 'COWD', name: 'VMDK' },
  { at: 0, mark: '# Disk DescriptorFile', name: 'VMDK' },
  { at: 0x40, mark: '\x7f\x10\xda\xbe', name: 'VDI' },
  { at: 0, mark: 'vhdxfile', name: 'VHDX' },
  { at: 0, mark: 'conectix', name: 'VHD' },
  { at: 0, mark: 'WithoutFreeSpace', name: 'Parallels' },
  { at: 0, mark: 'WithouFreSpacExt', name: 'Parallels' },
  { at: 0, mark: overlayMagic, name: 'overlay' },
];

/**
 * The format of an image that `head` begins like, unless it is raw. As a raw disk such a file would show the guest
 * the image's own structures, and what the guest writes would destroy them.
 */
export function foreignFormat(head: Uint8Array): string | undefined {
  return marks.find(({ at, mark }) => holds(head, at, mark))?.name;
}

/** The sector size, in bytes, that the disk's GUID partition table was made for; undefined if there is none, or one for both. */
export function partitionTableSector(head: Uint8Array): number | undefined {
  // The table's header is in the second sector (UEFI 2.10, 5.3.2).
  const sizes = [512, 4096].filter((size) => holds(head, size, 'EFI PART'));
  return sizes.length === 1 ? sizes[0] : undefined;
}

function holds(head: Uint8Array, at: number, mark: string): boolean {
  for (let index = 0; index < mark.length; index++) if (head[at + index] !== mark.charCodeAt(index)) return false;
  return true;
}

import { readFileSync } from 'node:fs';
import { overlayBlockBytes, overlayLayout } from '../../src/block/overlay-file.ts';

/** What a guest reads of a disk that is an overlay over a base, as both files are now. */
export function overlayContent(base: string, overlay: string): Buffer {
  const content = readFileSync(base);
  const file = readFileSync(overlay);
  const { bitmapOffset, dataOffset } = overlayLayout(content.length);
  for (let block = 0; block * overlayBlockBytes < content.length; block++) {
    if (((file[bitmapOffset + (block >>> 3)] ?? 0) & (1 << (block & 7))) === 0) continue;
    const at = block * overlayBlockBytes;
    file.copy(content, at, dataOffset + at, dataOffset + at + overlayBlockBytes);
  }
  return content;
}

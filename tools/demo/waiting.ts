import { setTimeout as sleep } from 'node:timers/promises';

/** Asks until it is so. @throws after `ms` */
export async function until(what: string, ms: number, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited ${ms / 1000} s in vain for ${what}`);
    await sleep(200);
  }
}

/** All that comes of it, as it is when it is asked for. */
export function textOf(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  return () => text.trim();
}

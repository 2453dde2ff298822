#!/usr/bin/env -S -u NODE_OPTIONS node --inspect-port=192.0.2.1:9229
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';
import { isMainThread, workerData } from 'node:worker_threads';
import { guardAgainstDebugger } from './debugger-guard.ts';
import { asBuilt } from './host/system/compiler.ts';
import type { ThreadKind } from './vmm/thread/controlled-thread.ts';

/**
 * Where every thread of the process begins: the main thread with the command line, all others with the program of their kind.
 *
 * A program is loaded from V8's code cache, which the build laid beside it: compiling is a quarter of what it does
 * before the guest runs. A cache made by another version of Node is refused by V8; then it is compiled as usual. The text is
 * a function already: to make one of it here would take its length of heap again.
 */
if (isMainThread) {
  guardAgainstDebugger();
  void load<typeof import('./cli.ts')>('main').main(process.argv, pathToFileURL(__filename));
} else {
  const { thread } = workerData as { readonly thread: ThreadKind };
  load<{ threadMain(): void }>(thread).threadMain();
}

function load<Exports>(name: string): Exports {
  const file = `${__dirname}/${name}.cjs`;
  const text = readFileSync(file, 'utf8');
  const cachedData = readCache(`${__dirname}/${name}.cache`);
  const script = asBuilt(() => new Script(text, { filename: file, cachedData }));
  const module = { exports: {} };
  script.runInThisContext()(module.exports, require, module, __dirname);
  return module.exports as Exports;
}

function readCache(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

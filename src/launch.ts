import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { Script } from 'node:vm';
import type { start } from './cli.ts';

/**
 * Loads the bundle from V8's code cache, which the build laid beside it, and starts it. Each thread begins here.
 *
 * Compiling is a quarter of what the program does before the guest runs, and every thread would do it again. A cache
 * made by another version of Node is refused by V8, and then the program is compiled as usual.
 */
const file = `${__dirname}/program.cjs`;
const parameters = '(function (exports, require, module) {';

const script = new Script(`${parameters}${readFileSync(file, 'utf8')}\n})`, {
  filename: file,
  columnOffset: -parameters.length,
  cachedData: readCache(`${__dirname}/program.cache`),
});
const program: { exports: { start?: typeof start } } = { exports: {} };
script.runInThisContext()(program.exports, require, program);
program.exports.start?.(pathToFileURL(__filename));

function readCache(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

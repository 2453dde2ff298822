// Loaded before Stryker's hook by each test process, and so by each of its threads. Stryker knows of a test only what its
// main thread came by: what the others did is handed over here, through files beside the sandbox.
const { readdirSync, readFileSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { isMainThread, threadId } = require('node:worker_threads');

const name = `mutants-of-${process.pid}-`;

if (process.env.STRYKER_DRY_RUN === 'true') {
  // Before Stryker's own listener, which tells what it finds.
  process.on('exit', isMainThread ? takeOver : handOver);
}

function reached() {
  const stryker = global[process.env.STRYKER_NAMESPACE];
  stryker.mutantCoverage ??= { static: {}, perTest: {} };
  return stryker.mutantCoverage.static;
}

function handOver() {
  writeFileSync(join(tmpdir(), `${name}${threadId}`), JSON.stringify(reached()));
}

function takeOver() {
  const counts = reached();
  for (const file of readdirSync(tmpdir()).filter((file) => file.startsWith(name))) {
    const path = join(tmpdir(), file);
    for (const [mutant, count] of Object.entries(JSON.parse(readFileSync(path, 'utf8')))) {
      counts[mutant] = (counts[mutant] ?? 0) + count;
    }
    rmSync(path);
  }
}
